//! Banks from C.

use std::ffi::{CString, c_char, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use super::abi::{Tagged, Versioned, close, hand_out, handle, object, path, read, slice, string, write};
use super::calibration::optional_roi;
use super::engine::{c_string, inctrl_engine};
use super::frame::{self, frames, inctrl_frame, inctrl_roi};
use super::log::{INCTRL_LOG_WARNING, log};
use super::status::{Failure, Outcome, guard};
use crate::bank::PromptBank;
use crate::calibration::Thresholds;
use crate::engine::{BankBuilder, BankSpec};
use crate::image::{IgnoreMask, Roi};
use crate::view::Fit;

/// Fit: the shorter side fills the model's input and the ends of the longer side are cut off, as published. Pixels
/// outside the middle square are not inspected; the log says how much of a bank's normal images that is.
pub const INCTRL_FIT_CROP: i32 = 0;
/// Fit: the whole frame is used, padded to a square. Padding is ignored.
pub const INCTRL_FIT_LETTERBOX: i32 = 1;
/// Fit: the whole frame is used, stretched to a square.
pub const INCTRL_FIT_STRETCH: i32 = 2;
/// Fit: the frame keeps its shape; a strip of less than one patch is cut off at the right and at the bottom. For
/// methods that take maps of any rows and columns.
pub const INCTRL_FIT_TRIM: i32 = 3;

/// The limits of a verdict. A value equal to a limit is past it. Limits are not percent: they lie in the range of the
/// method's outputs, [0, 1] for "inctrl" and [0, 2] for "anomaly-dino". A limit outside the range, NaN, and a `review`
/// above `reject` are refused.
///
/// Begin with `inctrl_thresholds limits = {0}; limits.struct_size = sizeof limits;`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_thresholds {
    /// sizeof(inctrl_thresholds).
    pub struct_size: usize,
    /// Score from which a part is sent to manual review; at most `reject`.
    pub review: f32,
    /// Score from which the part is rejected.
    pub reject: f32,
    /// Residual from which a cell of the map is defective.
    pub cell: f32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; numbers, which any bits are.
unsafe impl Versioned for inctrl_thresholds {
    const NAME: &'static str = "inctrl_thresholds";
    const FIRST: usize = offset_of!(inctrl_thresholds, reserved) + size_of::<u32>();
    fn reserved(&self) -> u32 {
        self.reserved
    }
}

/// The normal images of a class, encoded. It never changes; any number of threads may use it at once.
pub struct inctrl_bank {
    tagged: Tagged<Shared>,
}

/// What the handle holds.
pub(super) struct Shared {
    pub(super) bank: Arc<PromptBank>,
    id: CString,
    class_name: CString,
}

handle!(inctrl_bank, Shared, 2, "bank");

impl inctrl_bank {
    pub(super) fn new(bank: PromptBank) -> Self {
        Self::shared(Arc::new(bank))
    }

    pub(super) fn shared(bank: Arc<PromptBank>) -> Self {
        let (id, class_name) = (c_string(bank.id()), c_string(bank.class()));
        Shared { bank, id, class_name }.into()
    }
}

/// Adds the caller's frames and finishes.
///
/// # Safety
/// As [`frames`].
unsafe fn finish(
    mut builder: BankBuilder<'_>,
    pointer: *const inctrl_frame,
    count: usize,
    roi: Option<Roi>,
) -> Outcome<inctrl_bank> {
    builder.expect(count)?;
    let mut added = Ok(());
    // SAFETY: as of this function.
    unsafe {
        frames(pointer, count, |i, frame| {
            if added.is_ok() {
                added = frame
                    .and_then(|frame| Ok(builder.add(roi.map_or(Ok(frame), |roi| frame.settled().region(roi))?)?))
                    .map_err(|failure| Failure { text: format!("normal image {i}: {}", failure.text), ..failure });
            }
        })
    }?;
    added?;
    let bank = builder.finish()?;
    warn_of_unseen(&bank);
    Ok(inctrl_bank::new(bank))
}

/// Logs how much of its normal images a bank's fit leaves out.
fn warn_of_unseen(bank: &PromptBank) {
    let cut = bank.unseen().filter(|unseen| *unseen > 0.0).count();
    if cut > 0 {
        let most = 100.0 * bank.unseen().fold(0.0, f64::max);
        let (class, all, fit) = (bank.of_class(), bank.prompt_hashes().len(), bank.fit());
        log(
            INCTRL_LOG_WARNING,
            &format!(
                "bank{class}: fit {fit} cuts the ends off {cut} of {all} normal images, up to {most:.0} \
                % of the area, and off queries of the same shape: pixels there are not inspected; {}",
                fit.remedy()
            ),
        );
    }
}

impl inctrl_thresholds {
    pub(super) fn get(&self) -> Thresholds {
        let inctrl_thresholds { review, reject, cell, .. } = *self;
        Thresholds { review, reject, cell }
    }
}

/// Builds a bank for the method "inctrl" from normal images. This takes seconds. inctrl_bank_build_with builds banks
/// for other methods.
///
/// @param class_name the class in words, such as "metal nut", in UTF-8
/// @param fit one of the fits; queries are fitted in the same way
/// @param frames normal images: an array of `count` structures, at least one, all with the first one's struct_size
/// @param mask pixels to ignore: INCTRL_MONO8 in host memory, not 0 where ignored, or NULL; all frames and queries must
/// have its size
/// @param bank receives the bank, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_build(
    engine: *const inctrl_engine,
    class_name: *const c_char,
    fit: i32,
    frames: *const inctrl_frame,
    count: usize,
    mask: *const inctrl_frame,
    bank: *mut *mut inctrl_bank,
) -> i32 {
    guard(|| {
        // SAFETY: handle, string, structures and variable of the caller's, as the header asks.
        unsafe {
            hand_out(bank, || {
                let fit = fit_of(fit)?;
                let mut builder = object(engine)?.engine.bank_builder(string(class_name, "class name")?, fit)?;
                if !mask.is_null() {
                    builder.set_mask(IgnoreMask::from_frame(frame::mask(mask)?)?)?;
                }
                finish(builder, frames, count, None)
            })
        }
    })
}

/// What a bank is built for. Begin with `inctrl_bank_options options = {0}; options.struct_size = sizeof options;`.
/// Fields that stay 0 have their defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_bank_options {
    /// sizeof(inctrl_bank_options).
    pub struct_size: usize,
    /// The method's name, such as "anomaly-dino". NULL means "inctrl", if the model can serve it.
    pub method: *const c_char,
    /// The class in words, in UTF-8. NULL means "object" for methods that read it, and none for others; the method
    /// "winclip-zero" needs a name.
    pub class_name: *const c_char,
    /// `option_count` texts "name=value", options of the method or of tiles, such as "tile=448" and "scale=0.5": the
    /// program's help, docs/embedding.md and docs/tiles.md list them.
    pub options: *const *const c_char,
    /// Number of options.
    pub option_count: usize,
    /// Pixels to ignore, as for inctrl_bank_build, or NULL.
    pub mask: *const inctrl_frame,
    /// 1 if `fit` is set. With 0 the fit is the method's default, or that of the model's training.
    pub has_fit: i32,
    /// One of the fits.
    pub fit: i32,
    /// The region of each frame that the bank is for, as for inctrl_scorer_score_regions, or NULL for the whole frames. A
    /// mask must have the region's size.
    pub roi: *const inctrl_roi,
}

// SAFETY: `repr(C)`, begins with its size; addresses and integers, which any bits are.
unsafe impl Versioned for inctrl_bank_options {
    const NAME: &'static str = "inctrl_bank_options";
    const FIRST: usize = offset_of!(inctrl_bank_options, fit) + size_of::<i32>();
}

impl inctrl_bank_options {
    /// Converts the options to Rust.
    ///
    /// # Safety
    /// Strings and lists are NULL or the caller's.
    unsafe fn spec(&self) -> Outcome<BankSpec> {
        // SAFETY: as of this function.
        let text = |text: *const c_char, name: &str| unsafe { string(text, name) }.map(str::to_owned);
        let optional = |given: *const c_char, name| (!given.is_null()).then(|| text(given, name)).transpose();
        // SAFETY: as of this function.
        let options = unsafe { slice(self.options, self.option_count, "options of a method") }?;
        let fit = match self.has_fit {
            0 => None,
            1 => Some(fit_of(self.fit)?),
            other => return Err(Failure::argument(format!("`has_fit` is {other}: it must be 0 or 1"))),
        };
        Ok(BankSpec {
            method: optional(self.method, "method")?,
            class: optional(self.class_name, "class name")?,
            fit,
            options: options.iter().map(|option| text(*option, "option")).collect::<Outcome<_>>()?,
        })
    }
}

fn fit_of(fit: i32) -> Outcome<Fit> {
    match fit {
        INCTRL_FIT_CROP => Ok(Fit::Crop),
        INCTRL_FIT_LETTERBOX => Ok(Fit::Letterbox),
        INCTRL_FIT_STRETCH => Ok(Fit::Stretch),
        INCTRL_FIT_TRIM => Ok(Fit::Trim),
        other => Err(Failure::argument(format!("{other} is not a fit: use one of INCTRL_FIT_*"))),
    }
}

/// Builds a bank for any method. This takes seconds.
///
/// @param options may be freed afterwards
/// @param frames as for inctrl_bank_build; the method "winclip-zero" takes none: NULL, with a `count` of 0
/// @param bank receives the bank, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_build_with(
    engine: *const inctrl_engine,
    options: *const inctrl_bank_options,
    frames: *const inctrl_frame,
    count: usize,
    bank: *mut *mut inctrl_bank,
) -> i32 {
    guard(|| {
        // SAFETY: handle, structures, strings and variable of the caller's, as the header asks.
        unsafe {
            hand_out(bank, || {
                let options = read(options)?;
                let mut builder = object(engine)?.engine.bank_builder_of(&options.spec()?)?;
                if !options.mask.is_null() {
                    builder.set_mask(IgnoreMask::from_frame(frame::mask(options.mask)?)?)?;
                }
                finish(builder, frames, count, optional_roi(options.roi))
            })
        }
    })
}

/// A bank with the normal images of `bank` and more. Thresholds are not kept, as scores change. Frames count as a
/// whole: for the bank of a region use inctrl_appender_append().
///
/// @param frames as for inctrl_bank_build; fit, class and mask are those of `bank`, which does not change
/// @param longer receives the longer bank, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_append(
    engine: *const inctrl_engine,
    bank: *const inctrl_bank,
    frames: *const inctrl_frame,
    count: usize,
    longer: *mut *mut inctrl_bank,
) -> i32 {
    // SAFETY: handles, structures and variable of the caller's, as the header asks.
    guard(|| unsafe {
        hand_out(longer, || finish(object(engine)?.engine.append_to(&object(bank)?.bank)?, frames, count, None))
    })
}

/// Reads a bank from a file. Whether it fits a model is checked when a slot takes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_open(file: *const c_char, bank: *mut *mut inctrl_bank) -> i32 {
    // SAFETY: string and variable of the caller's.
    guard(|| unsafe { hand_out(bank, || Ok(inctrl_bank::new(PromptBank::open(path(file, "bank file")?)?))) })
}

/// Reads a bank from a file and ignores its thresholds, for files that inctrl_bank_open refuses because of them;
/// inctrl_bank_with_thresholds then sets others. The identity is that of a bank without thresholds.
///
/// @param bank receives the bank, NULL after an error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_open_without_thresholds(file: *const c_char, bank: *mut *mut inctrl_bank) -> i32 {
    // SAFETY: string and variable of the caller's.
    guard(|| unsafe {
        hand_out(bank, || Ok(inctrl_bank::new(PromptBank::open_without_thresholds(path(file, "bank file")?)?)))
    })
}

/// Reads a bank from the bytes of its file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_from_bytes(data: *const c_void, size: usize, bank: *mut *mut inctrl_bank) -> i32 {
    guard(|| {
        // SAFETY: bytes and variable of the caller's.
        unsafe {
            hand_out(bank, || {
                let bytes = slice(data.cast::<u8>(), size, "bytes of a bank")?;
                Ok(inctrl_bank::new(PromptBank::from_bytes(bytes)?))
            })
        }
    })
}

/// Writes a bank to a file, which appears complete or not at all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_save(bank: *const inctrl_bank, file: *const c_char) -> i32 {
    // SAFETY: handle and string of the caller's.
    guard(|| unsafe { Ok(object(bank)?.bank.save(path(file, "bank file")?)?) })
}

/// The same bank with other thresholds, or without thresholds if `thresholds` is NULL. Its identity changes.
///
/// @param changed receives the new bank, NULL after an error; `bank` does not change
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_with_thresholds(
    bank: *const inctrl_bank,
    thresholds: *const inctrl_thresholds,
    changed: *mut *mut inctrl_bank,
) -> i32 {
    guard(|| {
        // SAFETY: handle, structure and variable of the caller's.
        unsafe {
            hand_out(changed, || {
                let mut limits = None;
                if !thresholds.is_null() {
                    limits = Some(read(thresholds)?.get());
                }
                Ok(inctrl_bank::new(object(bank)?.bank.with_thresholds(limits)?))
            })
        }
    })
}

/// Reads a bank's thresholds.
///
/// @param present receives 1, or 0 if the bank has none; `thresholds` is then left unchanged
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_thresholds(
    bank: *const inctrl_bank,
    thresholds: *mut inctrl_thresholds,
    present: *mut i32,
) -> i32 {
    guard(|| {
        if present.is_null() {
            return Err(Failure::argument("the variable for `present` is NULL"));
        }
        // SAFETY: handle, structure and variable of the caller's.
        unsafe {
            let limits = object(bank)?.bank.thresholds().copied();
            if let Some(Thresholds { review, reject, cell }) = limits {
                write(thresholds, &inctrl_thresholds { struct_size: 0, review, reject, cell, reserved: 0 })?;
            }
            present.write(i32::from(limits.is_some()));
        }
        Ok(())
    })
}

/// Identity of the bank: 16 hexadecimal digits. Valid until the bank is closed; NULL if `bank` is not a bank.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_id(bank: *const inctrl_bank) -> *const c_char {
    // SAFETY: a handle of the caller's.
    unsafe { object(bank) }.map_or(std::ptr::null(), |bank| bank.id.as_ptr())
}

/// The bank's class in words, in UTF-8. Valid until the bank is closed; NULL if `bank` is not a bank.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_class_name(bank: *const inctrl_bank) -> *const c_char {
    // SAFETY: a handle of the caller's.
    unsafe { object(bank) }.map_or(std::ptr::null(), |bank| bank.class_name.as_ptr())
}

/// Number of the bank's normal images; 0 if `bank` is not a bank.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_prompts(bank: *const inctrl_bank) -> usize {
    // SAFETY: a handle of the caller's.
    unsafe { object(bank) }.map_or(0, |bank| bank.bank.prompt_hashes().len())
}

/// Number of the bank's rows, the patches of the views of all its images, which a cap limits; 0 if `bank` is not a bank,
/// and for methods that mix their images.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_rows(bank: *const inctrl_bank) -> usize {
    // SAFETY: a handle of the caller's.
    unsafe { object(bank) }.map_or(0, |bank| bank.bank.rows())
}

/// Closes a bank and sets the variable to NULL. Closing NULL does nothing. Slots that hold the bank keep it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inctrl_bank_close(bank: *mut *mut inctrl_bank) -> i32 {
    // SAFETY: a variable of the caller's, whose handle nobody uses any more.
    guard(|| unsafe { close(bank) })
}
