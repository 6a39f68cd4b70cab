//! CLIP's byte-level BPE tokeniser: open_clip's `SimpleTokenizer` in its default (lower-casing) mode.

use htmlize::unescape;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    Model, NormalizedString, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
};

use crate::error::{Error, ErrorKind, Result};

/// Number of token ids: 256 bytes, 256 bytes that end a word, 48,894 merges and two marks.
pub const VOCABULARY: usize = 49_408;
/// The id that begins every text.
pub const START_OF_TEXT: u32 = 49_406;
/// The id that ends every text. It is the largest id, and the text tower pools there.
pub const END_OF_TEXT: u32 = 49_407;

/// A header line, then one merge per line in order of rank. MIT licence, see `merges.LICENSE`.
const MERGES: &str = include_str!("merges.txt");

/// A word: a spelled-out mark, an English contraction, a run of letters, one digit, or a run of other characters. Only
/// contractions ignore case: the text is lower-case already, but U+017F matches `s` as in Python.
const WORD: &str = r"<start_of_text>|<end_of_text>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

/// Turns text into the token ids of CLIP.
///
/// Building one takes a few hundredths of a second, so build it once. It is immutable and can be shared between
/// threads.
///
/// ```
/// let tokeniser = inctrl::text::Tokeniser::new()?;
/// let ids = tokeniser.encode("A photo of a metal nut.", 77)?;
/// assert_eq!(ids, [49406, 320, 1125, 539, 320, 4044, 6491, 269, 49407]);
/// # Ok::<(), inctrl::Error>(())
/// ```
pub struct Tokeniser {
    words: Split,
    bytes: ByteLevel,
    bpe: BPE,
}

impl Tokeniser {
    /// Builds the tokeniser from the embedded merge table.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the table of this build is damaged.
    pub fn new() -> Result<Self> {
        let merges: Option<Merges> = MERGES
            .lines()
            .skip(1)
            .map(|line| line.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())))
            .collect();
        let merges = merges.ok_or_else(|| internal("a line of the merge table is not a pair"))?;

        // CLIP numbers the bytes by the character that stands for each, the printable ones first.
        let bytes = || ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('Ā'..='Ń');
        let vocabulary: Vocab = bytes()
            .map(String::from)
            .chain(bytes().map(|byte| format!("{byte}</w>")))
            .chain(merges.iter().map(|(left, right)| format!("{left}{right}")))
            .zip(0..)
            .collect();
        if vocabulary.len() != START_OF_TEXT as usize {
            return Err(internal(format!("the merge table makes {} tokens, not {START_OF_TEXT}", vocabulary.len())));
        }

        let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).end_of_word_suffix("</w>".to_owned()).build();
        // `invert` and `Removed`: text that no word matches, the spaces, is the delimiter and is dropped.
        let words = Split::new(SplitPattern::Regex(WORD.to_owned()), SplitDelimiterBehavior::Removed, true);
        Ok(Tokeniser {
            words: words.map_err(|e| internal("the word pattern does not compile").because(e))?,
            bytes: ByteLevel::new(false, false, false),
            bpe: bpe.map_err(|e| internal("the merge table is inconsistent").because(e))?,
        })
    }

    /// The ids of `text` from start-of-text to end-of-text, at most `context_length` of them (CLIP: 77).
    ///
    /// There is no padding: the text tower is causal and pools at end-of-text, so later positions have no influence. A
    /// longer text is cut and still ends with end-of-text. Before splitting, the text is composed (NFC), HTML-unescaped
    /// twice, its whitespace collapsed, and lower-cased. The other repairs that open_clip makes with `ftfy` (mojibake,
    /// curly quotes, full-width letters) are not made.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if `context_length` is below 2.
    pub fn encode(&self, text: &str, context_length: usize) -> Result<Vec<u32>> {
        if context_length < 2 {
            return Err(Error::new(
                ErrorKind::Argument,
                format!("a context of {context_length} tokens has no room for a text: use at least 2 (CLIP has 77)"),
            ));
        }
        let failed = |e| internal(format!("cannot tokenise {text:?}")).because(e);
        let mut pieces = PreTokenizedString::from(clean(text));
        self.words.pre_tokenize(&mut pieces).map_err(failed)?;
        self.bytes.pre_tokenize(&mut pieces).map_err(failed)?;

        let mut ids = vec![START_OF_TEXT];
        for (word, ..) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            match word {
                "<start_of_text>" => ids.push(START_OF_TEXT),
                "<end_of_text>" => break,
                _ => ids.extend(self.bpe.tokenize(word).map_err(failed)?.iter().map(|token| token.id)),
            }
            if ids.len() >= context_length {
                break;
            }
        }
        ids.truncate(context_length - 1);
        ids.push(END_OF_TEXT);
        Ok(ids)
    }

    /// The id of a token in the spelling of vocabulary files.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        match token {
            "<|startoftext|>" => Some(START_OF_TEXT),
            "<|endoftext|>" => Some(END_OF_TEXT),
            _ => self.bpe.token_to_id(token),
        }
    }

    /// The number, from 1, of the first line in a merges file (a header, then one merge per line) that differs from
    /// CLIP's.
    pub(crate) fn other_merge(text: &str) -> Option<usize> {
        let (theirs, ours) = (text.trim_end().lines().skip(1), MERGES.lines().skip(1));
        let same = theirs.clone().zip(ours.clone()).take_while(|(a, b)| a.trim_end() == *b).count();
        (same < theirs.count() || same < ours.count()).then_some(same + 2)
    }
}

/// The text in the form that the vocabulary was trained on: unescaped, lower-case, words separated by one space.
fn clean(text: &str) -> String {
    let mut composed = NormalizedString::from(text);
    composed.nfc();
    let unescaped = unescape(unescape(composed.get()));
    // Python's `str.split` takes the four information separators for whitespace, Unicode's White_Space does not.
    let words = unescaped.split(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

fn internal(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Internal, message)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    const _: () = {
        const fn shared_by_threads<T: Send + Sync>() {}
        shared_by_threads::<Tokeniser>()
    };

    #[derive(Deserialize)]
    struct Case {
        text: String,
        context_length: usize,
        ids: Vec<u32>,
    }

    #[test]
    fn ids_equal_open_clip() {
        let cases = include_str!("../../tests/fixtures/text/tokens.json");
        let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() >= 20);
        let tokeniser = Tokeniser::new().unwrap();
        for Case { text, context_length, ids } in cases {
            assert_eq!(tokeniser.encode(&text, context_length).unwrap(), ids, "{text:?} in {context_length}");
        }
    }

    #[test]
    fn every_byte_has_a_token() {
        let tokeniser = Tokeniser::new().unwrap();
        let all: String = ('\0'..='\u{7ff}').chain(['\u{800}', '\u{ffff}', '\u{10ffff}']).collect();
        let ids = tokeniser.encode(&all, usize::MAX).unwrap();
        // A byte without a token would be dropped silently: count the bytes that the tokens stand for.
        let bytes: usize = ids[1..ids.len() - 1]
            .iter()
            .map(|&id| tokeniser.bpe.id_to_token(id).unwrap().trim_end_matches("</w>").chars().count())
            .sum();
        assert_eq!(bytes, clean(&all).bytes().filter(|b| *b != b' ').count());
    }

    #[test]
    fn a_context_without_room_is_an_argument_error() {
        let tokeniser = Tokeniser::new().unwrap();
        for length in [0, 1] {
            assert_eq!(tokeniser.encode("nut", length).unwrap_err().kind(), ErrorKind::Argument);
        }
        assert_eq!(tokeniser.encode("nut", 2).unwrap(), [START_OF_TEXT, END_OF_TEXT]);
    }
}
