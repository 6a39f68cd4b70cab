//! The argument of all commands that read 16-bit pictures, and the warning about those whose range is in doubt.

use inctrl::{DepthDoubt, WhiteLevel};

use super::console::say;

/// The white level of 16-bit pictures.
#[derive(clap::Args)]
pub struct DepthArgs {
    /// The largest value that the camera sends, if 16-bit pictures hold fewer bits: 4095 for 12, 16383 for 14; 65535
    /// declares that values already have the right scale. It does not affect 8-bit pictures, or files that state it
    /// themselves (PNM)
    #[arg(long, value_name = "N")]
    pub white_level: Option<WhiteLevel>,
}

/// Counts images whose brightness is in doubt.
#[derive(Default)]
pub struct Doubts {
    count: usize,
    first: Option<(String, DepthDoubt)>,
}

impl Doubts {
    pub fn count(&mut self, name: impl FnOnce() -> String, doubt: Option<DepthDoubt>) {
        if let Some(doubt) = doubt {
            self.count += 1;
            self.first.get_or_insert_with(|| (name(), doubt));
        }
    }

    pub fn tell(&self, of: usize) {
        if let Some((name, doubt)) = &self.first {
            let others = if self.count > 1 {
                format!(" (the same holds for {} of {of} images)", self.count)
            } else {
                String::new()
            };
            say(&format!("warning: {name}: {doubt}{others}"));
        }
    }
}
