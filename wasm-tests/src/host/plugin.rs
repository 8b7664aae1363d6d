//! One VM with the filter in it, driven as Envoy drives it.

use std::time::Duration;

use wasmtime::{Instance, Linker, Module, Store, WasmParams, WasmResults};

use super::abi;
use super::error::HostError;
use super::fault::Fault;
use super::maps::Headers;
use super::property::Properties;
use super::state::{CallAnswer, Context, HttpCall, LogLine, Recorded, State};
use super::world::World;
use crate::artefact;

/// The filter in a VM of its own.
pub struct Plugin {
    pub(super) store: Store<State>,
    instance: Instance,
    roots: Vec<u32>,
    next_context: u32,
    dead: bool,
}

impl Plugin {
    /// The most memory a guest gets, in bytes; twice what a reload may need.
    pub const MEMORY_LIMIT: usize = 80 << 20;

    /// Loads the built filter into a new VM, makes its root context and starts it.
    ///
    /// # Errors
    /// The artefact is missing or does not instantiate, the guest traps, or it refuses to start.
    pub fn start(world: &World) -> Result<Self, HostError> {
        let artefact = artefact::load().map_err(|source| HostError::Artefact { source })?;
        Self::start_module(world, &artefact.module)
    }

    /// The same with a module of the caller's.
    ///
    /// # Errors
    /// It does not instantiate, traps, or refuses to start.
    pub fn start_module(world: &World, module: &Module) -> Result<Self, HostError> {
        let engine = module.engine();
        let mut store = Store::new(engine, State::new(world.clone(), Self::MEMORY_LIMIT));
        store.limiter(|state| &mut state.limits);
        // Refused where the module was not compiled to count, and then none are used up.
        let _counts = store.set_fuel(u64::MAX);
        let mut linker = Linker::new(engine);
        abi::define(&mut linker).map_err(|source| HostError::Instantiate { source })?;
        let instance = linker
            .instantiate(&mut store, module)
            .map_err(|source| HostError::Instantiate { source })?;
        let mut plugin = Self {
            store,
            instance,
            roots: Vec::new(),
            next_context: 1,
            dead: false,
        };
        plugin.call_optional::<(), ()>("_initialize", 0, ())?;
        plugin.call_optional::<(), ()>("_start", 0, ())?;
        plugin.new_root(b"")?;
        Ok(plugin)
    }

    /// Configures the current root context (again), as a `proxy_on_configure` of the same root.
    ///
    /// # Errors
    /// The guest traps.
    pub fn configure(&mut self, configuration: impl AsRef<[u8]>) -> Result<bool, HostError> {
        let root = self.root();
        self.configure_root(root, configuration.as_ref())
    }

    /// Applies a configuration as Envoy's ECDS does: a new root context in the same VM, which
    /// takes over if it accepts; otherwise it is deleted and the old one stays.
    ///
    /// # Errors
    /// The guest traps.
    pub fn replace_root(&mut self, configuration: impl AsRef<[u8]>) -> Result<bool, HostError> {
        let configuration = configuration.as_ref();
        let old = self.root();
        self.new_root(configuration)?;
        let new = self.root();
        let accepted = self.configure_root(new, configuration)?;
        self.delete_root(if accepted { old } else { new })?;
        Ok(accepted)
    }

    /// The same while connections of the old root context are open: Envoy keeps it, timer and all, until they end.
    ///
    /// # Errors
    /// The guest traps.
    pub fn add_root(&mut self, configuration: impl AsRef<[u8]>) -> Result<bool, HostError> {
        let configuration = configuration.as_ref();
        self.new_root(configuration)?;
        self.configure_root(self.root(), configuration)
    }

    /// Goes back to the root context before, which Envoy still has, when a configuration is taken back.
    ///
    /// # Errors
    /// The guest traps.
    pub fn drop_root(&mut self) -> Result<(), HostError> {
        self.delete_root(self.root())
    }

    /// Lets the timer of each root context that has set a period fire now.
    ///
    /// # Errors
    /// The guest traps.
    pub fn tick(&mut self) -> Result<(), HostError> {
        for root in self.roots.clone() {
            self.tick_root(root)?;
        }
        Ok(())
    }

    /// Moves the world's clock and lets the timer fire whenever it is due.
    ///
    /// # Errors
    /// The guest traps.
    pub fn run_for(&mut self, time: Duration) -> Result<(), HostError> {
        let clock = self.state().world.clock.clone();
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let end = clock.nanoseconds().saturating_add(time);
        while let Some((due, root)) = self.next_due().filter(|(due, _)| *due <= end) {
            clock.advance_to(due);
            self.tick_root(root)?;
        }
        clock.advance_to(end);
        Ok(())
    }

    /// The current root context's timer period; zero is off.
    #[must_use]
    pub fn tick_period(&self) -> Duration {
        let root = self.state().contexts.get(&self.root());
        Duration::from_millis(root.map_or(0, |root| u64::from(root.tick_milliseconds)))
    }

    /// The HTTP calls that wait for an answer, oldest first.
    #[must_use]
    pub fn pending_calls(&self) -> &[HttpCall] {
        &self.state().http_calls
    }

    /// Answers an HTTP call the guest made.
    ///
    /// # Errors
    /// The guest traps.
    pub fn answer_call(
        &mut self,
        call: &HttpCall,
        status: u32,
        body: &[u8],
    ) -> Result<(), HostError> {
        let status = status.to_string();
        let headers = Headers::new(&[(":status", status.as_str())]);
        self.finish_call(
            call,
            CallAnswer {
                headers,
                body: body.to_vec(),
                ..CallAnswer::default()
            },
        )
    }

    /// Lets an HTTP call fail: no answer, as on a timeout or a reset.
    ///
    /// # Errors
    /// The guest traps.
    pub fn fail_call(&mut self, call: &HttpCall) -> Result<(), HostError> {
        self.finish_call(call, CallAnswer::default())
    }

    /// Injects a fault; it stays until [`Plugin::clear_faults`].
    pub fn inject(&mut self, fault: Fault) {
        self.store.data_mut().faults.push(fault);
    }

    /// Removes the faults and gives them back with their counts.
    pub fn clear_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.store.data_mut().faults)
    }

    /// Every hostcall since the last time this was asked.
    pub fn take_recorded(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.store.data_mut().recorded)
    }

    /// Everything logged so far.
    #[must_use]
    pub fn log(&self) -> &[LogLine] {
        &self.state().log
    }

    /// The decision records logged so far, the last one first; a record that is no JSON is `Null`.
    pub fn decisions(&self) -> impl Iterator<Item = serde_json::Value> + '_ {
        let lines = self.state().log.iter().rev();
        lines
            .filter_map(|line| line.text.strip_prefix("countersign-decision "))
            .map(|json| serde_json::from_str(json).unwrap_or(serde_json::Value::Null))
    }

    /// The guest's linear memory, in bytes.
    pub fn memory_bytes(&mut self) -> usize {
        let memory = self.instance.get_memory(&mut self.store, "memory");
        memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// How many WebAssembly instructions the guest has taken so far, one that does several things at once
    /// counted as one; `None` where its module was not read by [`artefact::Artefact::read_counting`].
    #[must_use]
    pub fn instructions(&self) -> Option<u64> {
        let left = self.store.get_fuel().ok()?;
        Some(u64::MAX.saturating_sub(left))
    }

    /// Whether the guest has trapped; Envoy would answer 503 from then on.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The world it lives in.
    #[must_use]
    pub fn world(&self) -> World {
        self.state().world.clone()
    }

    pub(super) fn state(&self) -> &State {
        self.store.data()
    }

    pub(super) fn root(&self) -> u32 {
        self.roots.last().copied().unwrap_or(0)
    }

    pub(super) fn new_context(&mut self, mut context: Context) -> Result<u32, HostError> {
        let id = self.next_context;
        self.next_context = self.next_context.wrapping_add(1);
        let parent = if context.is_root { 0 } else { context.root };
        if context.is_root {
            context.root = id;
        }
        self.store.data_mut().contexts.insert(id, context);
        self.call_optional::<(u32, u32), ()>("proxy_on_context_create", id, (id, parent))?;
        Ok(id)
    }

    /// Calls an export in a context; `None` if the module does not have it.
    pub(super) fn call_optional<P: WasmParams, R: WasmResults>(
        &mut self,
        export: &'static str,
        context: u32,
        parameters: P,
    ) -> Result<Option<R>, HostError> {
        if self.dead {
            return Err(HostError::Dead { export });
        }
        let Some(function) = self.instance.get_func(&mut self.store, export) else {
            return Ok(None);
        };
        let state = self.store.data_mut();
        state.current = context;
        state.effective = 0;
        let outcome = function
            .typed::<P, R>(&self.store)
            .and_then(|typed| typed.call(&mut self.store, parameters));
        let state = self.store.data_mut();
        state.current = 0;
        state.effective = 0;
        outcome.map(Some).map_err(|source| {
            self.dead = true;
            let tail = self.store.data().log.iter().rev().take(3);
            let log = tail.map(|line| line.text.clone()).collect();
            HostError::Trap {
                export,
                source,
                log,
            }
        })
    }

    fn next_due(&self) -> Option<(u64, u32)> {
        let contexts = &self.state().contexts;
        let timer = |id: &u32| contexts.get(id).filter(|root| root.tick_milliseconds > 0);
        self.roots
            .iter()
            .filter_map(|id| timer(id).map(|root| (root.tick_due, *id)))
            .min()
    }

    fn tick_root(&mut self, root: u32) -> Result<(), HostError> {
        let period = |state: &State| {
            state
                .contexts
                .get(&root)
                .map_or(0, |root| root.tick_milliseconds)
        };
        if period(self.state()) == 0 {
            return Ok(());
        }
        self.call_optional::<u32, ()>("proxy_on_tick", root, root)?;
        let period = period(self.state());
        let state = self.store.data_mut();
        let now = state.world.clock.nanoseconds();
        if let Some(context) = state.contexts.get_mut(&root) {
            context.arm_timer(now, period);
        }
        Ok(())
    }

    fn new_root(&mut self, configuration: &[u8]) -> Result<(), HostError> {
        let configuration = configuration.to_vec();
        let context = Context {
            is_root: true,
            configuration,
            properties: Properties::new().with("plugin_name", "countersign"),
            ..Context::default()
        };
        let root = self.new_context(context)?;
        self.roots.push(root);
        let started =
            self.call_optional::<(u32, u32), u32>("proxy_on_vm_start", root, (root, 0))?;
        if started.unwrap_or(1) == 0 {
            Err(HostError::RefusedToStart)
        } else {
            Ok(())
        }
    }

    fn configure_root(&mut self, root: u32, configuration: &[u8]) -> Result<bool, HostError> {
        if let Some(context) = self.store.data_mut().contexts.get_mut(&root) {
            context.configuration = configuration.to_vec();
        }
        let length = u32::try_from(configuration.len()).unwrap_or(u32::MAX);
        let accepted =
            self.call_optional::<(u32, u32), u32>("proxy_on_configure", root, (root, length))?;
        Ok(accepted.unwrap_or(1) != 0)
    }

    fn delete_root(&mut self, root: u32) -> Result<(), HostError> {
        self.call_optional::<u32, u32>("proxy_on_done", root, root)?;
        self.call_optional::<u32, ()>("proxy_on_delete", root, root)?;
        self.roots.retain(|have| *have != root);
        self.store.data_mut().contexts.remove(&root);
        Ok(())
    }

    fn finish_call(&mut self, call: &HttpCall, answer: CallAnswer) -> Result<(), HostError> {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let sizes = (count(answer.headers.len()), count(answer.body.len()));
        let state = self.store.data_mut();
        state
            .http_calls
            .retain(|pending| pending.token != call.token);
        state.call_answer = Some(answer);
        let parameters = (call.root, call.token, sizes.0, sizes.1, 0_u32);
        let done = self.call_optional::<(u32, u32, u32, u32, u32), ()>(
            "proxy_on_http_call_response",
            call.root,
            parameters,
        );
        self.store.data_mut().call_answer = None;
        done.map(|_absent| ())
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;

    /// A module with a memory whose `proxy_on_context_create` does nothing but trap.
    fn trapping() -> Module {
        let export = b"\x17proxy_on_context_create\x00\x00";
        let bytes = [
            b"\0asm\x01\0\0\0".as_slice(),
            b"\x01\x06\x01\x60\x02\x7f\x7f\x00", // type: (i32, i32) -> ()
            b"\x03\x02\x01\x00",                 // one function of that type
            b"\x05\x03\x01\x00\x01",             // one memory of one page
            b"\x07\x24\x02\x06memory\x02\x00",   // exports: the memory,
            export,                              // and the function,
            b"\x0a\x05\x01\x03\x00\x00\x0b",     // which is `unreachable`
        ]
        .concat();
        Module::new(&Engine::default(), bytes).expect("a module")
    }

    #[test]
    fn a_guest_that_traps_is_an_error_of_the_call() {
        let started = Plugin::start_module(&World::at(0), &trapping());
        let error = started.err().expect("it traps");
        let trapped = matches!(
            error,
            HostError::Trap {
                export: "proxy_on_context_create",
                ..
            }
        );
        assert!(trapped, "{error}");
    }
}
