//! Shared data and shared queues: what every VM with the same `vm_id` sees.

use std::collections::{BTreeMap, VecDeque};

use super::status::Status;

/// Key-value store with compare-and-swap, and queues, as Envoy keeps them for the whole process.
#[derive(Debug, Default)]
pub struct SharedStore {
    data: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
    queues: Vec<(Vec<u8>, VecDeque<Vec<u8>>)>,
}

impl SharedStore {
    /// The value and its compare-and-swap number.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<(&[u8], u32)> {
        self.data
            .get(key)
            .map(|(value, cas)| (value.as_slice(), *cas))
    }

    /// The keys there are, as text.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.data
            .keys()
            .map(|key| String::from_utf8_lossy(key).into_owned())
            .collect()
    }

    /// Writes a value; a `cas` other than 0 must be the number the value has now.
    ///
    /// # Errors
    /// [`Status::CasMismatch`] when somebody wrote in between.
    pub fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let current = self.data.get(key).map(|(_, cas)| *cas);
        if cas != 0 && current.is_some_and(|current| current != cas) {
            return Err(Status::CasMismatch);
        }
        self.last_cas = self.last_cas.wrapping_add(1).max(1);
        self.data
            .insert(key.to_vec(), (value.to_vec(), self.last_cas));
        Ok(())
    }

    pub(super) fn register_queue(&mut self, name: &[u8]) -> u32 {
        if let Some(id) = self.queue_id(name) {
            return id;
        }
        self.queues.push((name.to_vec(), VecDeque::new()));
        u32::try_from(self.queues.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn queue_id(&self, name: &[u8]) -> Option<u32> {
        let at = self.queues.iter().position(|(have, _)| have == name)?;
        u32::try_from(at.saturating_add(1)).ok()
    }

    pub(super) fn enqueue(&mut self, id: u32, value: &[u8]) -> Result<(), Status> {
        self.queue(id)?.push_back(value.to_vec());
        Ok(())
    }

    pub(super) fn dequeue(&mut self, id: u32) -> Result<Vec<u8>, Status> {
        self.queue(id)?.pop_front().ok_or(Status::Empty)
    }

    fn queue(&mut self, id: u32) -> Result<&mut VecDeque<Vec<u8>>, Status> {
        let at = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        let queue = at.and_then(|at| self.queues.get_mut(at));
        queue.map(|(_, queue)| queue).ok_or(Status::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_write_over_a_newer_value() {
        let mut store = SharedStore::default();
        store.set(b"k", b"one", 0).expect("first write");
        let (_, cas) = store.get(b"k").expect("is there");
        store.set(b"k", b"two", cas).expect("with the right number");
        assert_eq!(store.set(b"k", b"three", cas), Err(Status::CasMismatch));
        assert_eq!(store.get(b"k").map(|(value, _)| value), Some(&b"two"[..]));
    }

    #[test]
    fn queues_are_first_in_first_out_and_empty_is_a_status() {
        let mut store = SharedStore::default();
        let id = store.register_queue(b"q");
        assert_eq!(store.register_queue(b"q"), id);
        store.enqueue(id, b"a").expect("enqueue");
        assert_eq!(store.dequeue(id), Ok(b"a".to_vec()));
        assert_eq!(store.dequeue(id), Err(Status::Empty));
        assert_eq!(store.dequeue(id + 1), Err(Status::NotFound));
    }
}
