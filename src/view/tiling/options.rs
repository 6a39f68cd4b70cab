//! The options of a tiling: one table for the command line, the C interface and `name=value` texts.

use super::{BankPer, Tiling, check_scale, rounded, usual_overlap};
use crate::error::{Error, ErrorKind, Result};

/// An option of a tiling. Any of them asks for tiles; the others then have their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilingOption {
    /// Its name in texts, calls and on the command line.
    pub name: &'static str,
    /// What stands for its value in help.
    pub value: &'static str,
    /// A one-line description for people, with the default.
    pub help: &'static str,
}

/// All options of a tiling.
pub static TILING: &[TilingOption] = &[
    TilingOption {
        name: NAMES[0],
        value: "PIXELS",
        help: "Look at images in square tiles with this side, as the model sees it [default, with any option of tiles: the method's \
               size]",
    },
    TilingOption {
        name: NAMES[1],
        value: "PIXELS",
        help: "Tiles: overlap of neighbours, as the model sees it, a multiple of the patch [default: an eighth of a tile]",
    },
    TilingOption {
        name: NAMES[2],
        value: "SCALE",
        help: "Tiles: size of the picture that is tiled, relative to the image; 0.5 halves both sides [default: 1]",
    },
    TilingOption {
        name: NAMES[3],
        value: "PIXELS",
        help: "Tiles: width in pixels of the image of the smallest defect that matters; scale and overlap follow from it",
    },
    TilingOption {
        name: NAMES[4],
        value: "frame|tile",
        help: "Tiles: one bank for all tiles (frame: textures, parts that lie anywhere) or one for each position (tile: parts that \
               always lie alike) [default: frame; padim and spade, and winclip with squares: tile]",
    },
    TilingOption {
        name: NAMES[5],
        value: "on|off",
        help: "For winclip and winclip-zero: cut pictures that are not square into squares of their shorter side, as published; the \
                score is the mean over the squares [default: off]",
    },
];

/// Their names.
const NAMES: [&str; 6] = ["tile", "overlap", "scale", "defect-size", "bank-per", SQUARES];
const SQUARES: &str = "squares";

/// The largest defect, in pixels.
const LARGEST_DEFECT: usize = 65_535;

/// The options of tiles that were given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TilingOptions {
    tile: Option<usize>,
    overlap: Option<usize>,
    scale: Option<f64>,
    defect: Option<usize>,
    bank_per: Option<BankPer>,
    squares: bool,
}

impl TilingOptions {
    /// Separates the options of tiles from those of the method. `None` if none is about tiles.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a malformed value, or an option that is given twice.
    pub fn split<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(Option<Self>, Vec<&'a str>)> {
        let (mut options, mut named, mut others) = (TilingOptions::default(), [false; NAMES.len()], Vec::new());
        for text in texts {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let Some(place) = NAMES.iter().position(|known| *known == name) else {
                others.push(text);
                continue;
            };
            if std::mem::replace(&mut named[place], true) {
                return fail(format!("the option `{name}` is given twice: leave one out"));
            }
            let count = || value.parse().ok();
            let taken = match place {
                0 => count().map(|count| options.tile = Some(count)),
                1 => count().map(|count| options.overlap = Some(count)),
                2 => value.parse().ok().map(|scale| options.scale = Some(rounded(scale))),
                3 => count()
                    .filter(|defect| (1..=LARGEST_DEFECT).contains(defect))
                    .map(|defect| options.defect = Some(defect)),
                4 => [BankPer::Frame, BankPer::Tile]
                    .into_iter()
                    .find(|per| per.name() == value)
                    .map(|per| options.bank_per = Some(per)),
                _ => ["off", "on"].iter().position(|known| *known == value).map(|on| options.squares = on == 1),
            };
            if taken.is_none() {
                let range = match place {
                    2 => "a number, such as 0.5".to_owned(),
                    3 => format!("a whole number of pixels from 1 to {LARGEST_DEFECT}"),
                    4 => "frame or tile".to_owned(),
                    5 => "on or off".to_owned(),
                    _ => "a whole number of pixels".to_owned(),
                };
                return fail(format!("the option `{name}` is {value:?}: it must be {range}"));
            }
        }
        // To do without squares is to ask for nothing.
        named[5] = options.squares;
        Ok((named.contains(&true).then_some(options), others))
    }

    /// Whether frames are to be cut into squares.
    pub fn squares(&self) -> bool {
        self.squares
    }

    /// The tiling, for an encoder whose patches have `patch` pixels on a side and a method whose views usually have
    /// `size`. `bank_per` is the method's default.
    ///
    /// A defect's size gives the scale at which the defect is as wide as a patch, at most 1 as enlarging adds no
    /// detail, and an overlap of its width in patches, rounded up, and one patch more, so that a defect on a seam lies
    /// whole in a tile.
    ///
    /// # Errors
    /// As [`Tiling::check`]; [`ErrorKind::Argument`] for squares whose size or place is given.
    pub fn settle(&self, size: usize, patch: usize, bank_per: BankPer) -> Result<Tiling> {
        if self.squares {
            let given = [self.tile.is_some(), self.overlap.is_some(), self.scale.is_some(), self.defect.is_some()];
            if let Some(place) = given.iter().position(|given| *given) {
                return fail(format!(
                    "the options `{}` and {SQUARES}=on do not go together: squares follow from the picture's shorter side; leave one out",
                    NAMES[place]
                ));
            }
            let (tile, bank_per) = (size / patch * patch, self.bank_per.unwrap_or(bank_per));
            let tiling = Tiling { tile, overlap: 0, scale: 1.0, bank_per, defect: None, squares: true };
            tiling.check(patch)?;
            return Ok(tiling);
        }
        let tile = self.tile.unwrap_or(size / patch * patch);
        let of_defect = self.defect.map_or(1.0, |defect| (patch as f64 / defect as f64).min(1.0));
        let scale = self.scale.unwrap_or(rounded(of_defect));
        check_scale(scale)?;
        let overlap = self.overlap.unwrap_or_else(|| match self.defect {
            Some(defect) => ((defect as f64 * scale / patch as f64 - 1e-3).ceil() as usize + 1) * patch,
            None => usual_overlap(tile, patch),
        });
        let bank_per = self.bank_per.unwrap_or(bank_per);
        let tiling = Tiling { tile, overlap, scale, bank_per, defect: self.defect, squares: false };
        tiling.check(patch)?;
        Ok(tiling)
    }
}

fn fail<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Argument, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(texts: &[&str]) -> Result<Tiling> {
        let (options, others) = TilingOptions::split(texts.iter().copied())?;
        assert!(others.is_empty());
        options.unwrap().settle(448, 14, BankPer::Frame)
    }

    #[test]
    fn options_of_the_method_are_left_to_it() {
        let (options, others) = TilingOptions::split(["size=448", "tile=56", "tiles=3", "mask=on"]).unwrap();
        assert_eq!((options.unwrap().tile, others), (Some(56), vec!["size=448", "tiles=3", "mask=on"]));
        assert_eq!(TilingOptions::split(["size=448"]).unwrap().0, None);
        assert_eq!(TilingOptions::split(["squares=off"]).unwrap(), (None, Vec::new()));
    }

    #[test]
    fn squares_have_the_method_s_size() {
        let found = settled(&["squares=on"]).unwrap();
        assert_eq!((found.tile, found.squares, found.bank_per), (448, true, BankPer::Frame));
        assert_eq!(settled(&["squares=on", "bank-per=tile"]).unwrap().to_string(), "squares=on bank-per=tile");
        assert_eq!(settled(&["squares=off", "tile=448"]).unwrap(), settled(&["tile=448"]).unwrap());
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let usual =
            Tiling { tile: 448, overlap: 56, scale: 0.5, bank_per: BankPer::Frame, defect: None, squares: false };
        assert_eq!(settled(&["scale=0.5"]).unwrap(), usual);
        assert_eq!(
            settled(&["tile=448", "bank-per=tile"]).unwrap(),
            Tiling { scale: 1.0, bank_per: BankPer::Tile, ..usual }
        );
        assert_eq!(settled(&["tile=28"]).unwrap().overlap, 14);
        assert_eq!(settled(&["tile=14"]).unwrap().overlap, 0);
    }

    #[test]
    fn scale_and_overlap_follow_from_the_size_of_a_defect() {
        for (defect, scale, overlap) in
            [(1, 1.0, 28), (14, 1.0, 28), (28, 0.5, 28), (30, 0.466_667, 28), (65_535, 0.001, 84)]
        {
            let text = format!("defect-size={defect}");
            // A scale of 14 / 65535 is too small.
            let found = if defect > 10_000 { settled(&[&text, "scale=0.001"]) } else { settled(&[&text]) }.unwrap();
            assert_eq!((found.tile, found.scale, found.overlap), (448, scale, overlap), "{defect}");
            assert_eq!(found.defect, Some(defect));
        }
        assert!(settled(&["defect-size=65535"]).unwrap_err().to_string().contains("from 0.001 to 16"));
        // At full scale it touches more patches.
        assert_eq!(settled(&["defect-size=30", "scale=1"]).unwrap().overlap, 56);
    }

    #[test]
    fn wrong_values_are_named_with_what_is_right() {
        for (texts, expected) in [
            (&["tile=x"][..], "a whole number of pixels"),
            (&["tile"], "a whole number of pixels"),
            (&["scale=half"], "such as 0.5"),
            (&["defect-size=0"], "from 1 to 65535"),
            (&["bank-per=row"], "frame or tile"),
            (&["squares=yes"], "on or off"),
            (&["squares=on", "scale=0.5"], "`scale` and squares=on"),
            (&["tile=448", "tile=448"], "twice"),
            (&["scale=nan"], "from 0.001 to 16"),
            (&["scale=inf", "defect-size=30"], "from 0.001 to 16"),
            (&["scale=1e300", "defect-size=30"], "from 0.001 to 16"),
            (&["tile=18446744073709551615"], "a tile of 18446744073709551615 pixels: at most 65536 are supported"),
            (&["overlap=18446744073709551615"], "an overlap of 18446744073709551615 pixels: at most 65536"),
            (&["tile=13"], "such as 14"),
        ] {
            let error = settled(texts).unwrap_err();
            assert!(error.kind() == ErrorKind::Argument && error.to_string().contains(expected), "{error}");
        }
    }
}
