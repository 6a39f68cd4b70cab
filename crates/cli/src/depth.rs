//! The argument of all commands that read pictures of 16 bits, and what is said of those whose range is in doubt.

use inctrl::{DepthDoubt, WhiteLevel};

use super::console::say;

/// What 16-bit pictures mean.
#[derive(clap::Args)]
pub struct DepthArgs {
    /// The largest value that the camera sends, where 16-bit pictures hold fewer bits: 4095 for 12, 16383 for 14; 65535 says
    /// that they are right as they are. Pictures of 8 bits are not touched, nor files that say it themselves (PNM)
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
            let others =
                if self.count > 1 { format!(" ({} of {of} images are like that)", self.count) } else { String::new() };
            say(&format!("warning: {name}: {doubt}{others}"));
        }
    }
}
