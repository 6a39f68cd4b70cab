//! Where the results of a call are written.

use super::abi::Array;
use super::result::{Place, inctrl_result};
use super::status::{Failure, Outcome};

/// The caller's results, all marked as failed.
#[derive(Clone, Copy)]
pub(super) struct Places(Array<inctrl_result>);

impl Places {
    /// Marks the results before anything else. An unusable result affects only itself; its error is reported in its
    /// turn.
    ///
    /// # Safety
    /// As [`Place::new`], for each of `count` structures of the first one's size.
    pub unsafe fn new(first: *mut inctrl_result, count: usize) -> Outcome<Self> {
        // SAFETY: as of this function.
        let places = Places(unsafe { Array::new(first, count) }?);
        (0..count).for_each(|i| drop(places.get(i)));
        Ok(places)
    }

    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// Place `i`, which is below the count.
    pub fn get(&self, i: usize) -> Outcome<Place> {
        assert!(i < self.count(), "result {i} of {}", self.count());
        // SAFETY: the caller of `new` has them all, `i` among them.
        let place = unsafe { self.0.get(i).and_then(|pointer| Place::new(pointer)) };
        place.map_err(|failure| Failure { text: format!("result {i}: {}", failure.text), ..failure })
    }

    /// Marks all of them as not scored.
    pub fn fail(&self, code: i32) {
        for i in 0..self.count() {
            // An unusable result already has its own error, or cannot hold one.
            let _ = self.get(i).and_then(|mut place| place.fail(code));
        }
    }
}
