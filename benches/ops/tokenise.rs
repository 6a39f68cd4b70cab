use criterion::{Criterion, Throughput};
use inctrl::text::{Tokeniser, ensemble};

use super::common::bench;

const CONTEXT: usize = 77;

/// The sentences of one class.
pub fn sentences() -> Vec<String> {
    let ensemble = ensemble::sentences("metal nut").expect("a class name");
    ensemble.normal.into_iter().chain(ensemble.anomaly).collect()
}

pub fn tokenise(c: &mut Criterion) {
    let texts = sentences();
    let bytes = texts.iter().map(String::len).sum::<usize>() as u64;
    bench(c, "tokenise", format!("{} sentences", texts.len()), Throughput::Bytes(bytes), || {
        let tokeniser = Tokeniser::new().expect("the merge table");
        // open_clip's ids.
        let expected = [49406, 320, 1125, 539, 320, 2368, 49407];
        assert_eq!(tokeniser.encode("a photo of a cat", CONTEXT).expect("ids"), expected);
        move || {
            for text in &texts {
                std::hint::black_box(tokeniser.encode(text, CONTEXT).expect("ids"));
            }
        }
    });
    bench(c, "tokenise", "merge table", Throughput::Elements(1), || {
        || {
            std::hint::black_box(Tokeniser::new().expect("the merge table"));
        }
    });
}
