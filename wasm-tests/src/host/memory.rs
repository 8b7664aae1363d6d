//! The guest's memory as a hostcall sees it.

use wasmtime::{Caller, Extern, Memory};

use super::state::State;
use super::status::Status;

/// One hostcall in progress.
pub(super) struct Guest<'call, 'store> {
    caller: &'call mut Caller<'store, State>,
    substitute: Option<Vec<u8>>,
}

impl<'call, 'store> Guest<'call, 'store> {
    pub(super) fn new(caller: &'call mut Caller<'store, State>) -> Self {
        Self {
            caller,
            substitute: None,
        }
    }

    /// Hands over these bytes in place of the ones the hostcall finds.
    pub(super) fn substitute(&mut self, bytes: Vec<u8>) {
        self.substitute = Some(bytes);
    }

    pub(super) fn state(&mut self) -> &mut State {
        self.caller.data_mut()
    }

    /// Copies bytes out of the guest.
    pub(super) fn read(&mut self, at: u32, length: u32) -> Result<Vec<u8>, Status> {
        let memory = self.memory()?;
        let start = usize::try_from(at).map_err(|_large| Status::InvalidMemoryAccess)?;
        let length = usize::try_from(length).map_err(|_large| Status::InvalidMemoryAccess)?;
        let end = start
            .checked_add(length)
            .ok_or(Status::InvalidMemoryAccess)?;
        let data = memory.data(&*self.caller);
        data.get(start..end)
            .map(<[u8]>::to_vec)
            .ok_or(Status::InvalidMemoryAccess)
    }

    pub(super) fn read_text(&mut self, at: u32, length: u32) -> Result<String, Status> {
        Ok(String::from_utf8_lossy(&self.read(at, length)?).into_owned())
    }

    pub(super) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Status> {
        let memory = self.memory()?;
        let at = usize::try_from(at).map_err(|_large| Status::InvalidMemoryAccess)?;
        memory
            .write(&mut *self.caller, at, bytes)
            .map_err(|_outside| Status::InvalidMemoryAccess)
    }

    pub(super) fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Status> {
        self.write(at, &value.to_le_bytes())
    }

    /// Gives the guest bytes in memory it owns; none at all is a null pointer of length 0.
    pub(super) fn give(&mut self, bytes: &[u8], at: u32, length_at: u32) -> Result<(), Status> {
        let substitute = self.substitute.take();
        let bytes = substitute.as_deref().unwrap_or(bytes);
        let length = u32::try_from(bytes.len()).map_err(|_large| Status::InternalFailure)?;
        let pointer = if length == 0 {
            0
        } else {
            self.allocate(length)?
        };
        if length != 0 {
            self.write(pointer, bytes)?;
        }
        self.write_u32(at, pointer)?;
        self.write_u32(length_at, length)
    }

    fn allocate(&mut self, length: u32) -> Result<u32, Status> {
        let allocator = ["proxy_on_memory_allocate", "malloc"]
            .into_iter()
            .find_map(|name| self.caller.get_export(name).and_then(Extern::into_func))
            .ok_or(Status::InternalFailure)?;
        let typed = allocator
            .typed::<u32, u32>(&*self.caller)
            .map_err(|_signature| Status::InternalFailure)?;
        let pointer = typed
            .call(&mut *self.caller, length)
            .map_err(|_trap| Status::InternalFailure)?;
        if pointer == 0 {
            Err(Status::InvalidMemoryAccess)
        } else {
            Ok(pointer)
        }
    }

    fn memory(&mut self) -> Result<Memory, Status> {
        self.caller
            .get_export("memory")
            .and_then(Extern::into_memory)
            .ok_or(Status::InternalFailure)
    }
}
