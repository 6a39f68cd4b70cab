//! Slots from C: one bank for many scorers, which can be replaced while they run.

use std::sync::Arc;

use super::abi::{Tagged, close, hand_out, handle, object};
use super::bank::inctrl_bank;
use super::engine::inctrl_engine;
use super::log::{INCTRL_LOG_INFO, log};
use super::status::guard;
use crate::engine::SharedBank;

/// A bank that several scorers use and that can be replaced. Any number of threads may use it at once.
pub struct inctrl_slot {
    tagged: Tagged<SlotState>,
}

/// What the handle holds.
pub(super) struct SlotState {
    pub(super) slot: Arc<SharedBank>,
}

handle!(inctrl_slot, SlotState, 3, "slot");

/// Makes a slot with a bank of the engine's model, as generation 1. INCTRL_ERROR_BANK for a bank of another model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_slot_create(
    engine: *const inctrl_engine,
    bank: *const inctrl_bank,
    slot: *mut *mut inctrl_slot,
) -> i32 {
    guard(|| {
        // SAFETY: handles and variable of the caller's.
        unsafe {
            hand_out(slot, || {
                let slot = object(engine)?.engine.shared_bank(Arc::clone(&object(bank)?.bank))?;
                Ok(SlotState { slot: Arc::new(slot) }.into())
            })
        }
    })
}

/// Replaces the bank for all scorers of the slot, from their next frame on. Scoring continues in the meantime.
///
/// After an error the slot keeps its bank.
///
/// @param generation receives the new bank's generation, or NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_slot_swap(
    slot: *const inctrl_slot,
    bank: *const inctrl_bank,
    generation: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: handles of the caller's.
        let (slot, bank) = unsafe { (object(slot)?, object(bank)?) };
        let number = slot.slot.swap(Arc::clone(&bank.bank))?;
        log(INCTRL_LOG_INFO, &format!("bank {}{} is generation {number}", bank.bank.id(), bank.bank.of_class()));
        if !generation.is_null() {
            // SAFETY: a variable of the caller's.
            unsafe { generation.write(number) };
        }
        Ok(())
    })
}

/// Closes a slot and sets the variable to NULL. Closing NULL does nothing. Its scorers stay usable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_slot_close(slot: *mut *mut inctrl_slot) -> i32 {
    // SAFETY: a variable of the caller's, whose handle nobody uses any more.
    guard(|| unsafe { close(slot) })
}
