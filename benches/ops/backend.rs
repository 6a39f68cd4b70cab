//! Every operation of the processor's backend at the sizes of ViT-B/16+ 240, and where they matter of DINOv2: inputs, formulas
//! and work are the laboratory's. `inctrl bench op` times the same at any size, and says how much of the machine's best it reaches.

use criterion::Criterion;
use inctrl_lab::measure::op::{self, Sizes};

use super::common::{bench, cpu};

/// Sizes that differ from the usual ones.
type Given = &'static [(&'static str, usize)];

const CASES: &[(&str, &[Given])] = &[
    (
        "preprocess",
        &[
            &[("side", 300), ("channels", 1)],
            &[("side", 300), ("channels", 3)],
            &[("side", 1024), ("channels", 1)],
            &[("side", 1024), ("channels", 3)],
        ],
    ),
    ("linear", &[&[("inputs", 768), ("outputs", 896)], &[], &[("outputs", 3584)]]),
    ("linear_add", &[&[("outputs", 896)], &[("inputs", 3584), ("outputs", 896)]]),
    ("linear_gelu", &[&[("outputs", 3584)]]),
    ("gelu", &[&[], &[("quick", 1)]]),
    ("swiglu", &[&[("rows", 226)]]),
    ("layer_norm", &[&[]]),
    ("embed", &[&[]]),
    ("embed_norm", &[&[]]),
    // The last: DINOv2's ViT-S at 448 pixels.
    ("attention", &[&[], &[("causal", 1)], &[("tokens", 1025), ("heads", 6)]]),
    ("class_attention", &[&[]]),
    ("pool_rows", &[&[], &[("last", 1)]]),
    ("unit_patches", &[&[]]),
    ("layer_norm_unit_patches", &[&[]]),
    // Prompts of InCTRL; and of DINOv2's ViT-S at 448 pixels, four at eight turns.
    (
        "patch_nn",
        &[
            &[("taps", 3), ("rows", 225)],
            &[("taps", 3), ("rows", 1800)],
            &[("taps", 3), ("rows", 14_400)],
            &[("taps", 3), ("rows", 57_600)],
            &[("q", 1024), ("rows", 32_768), ("width", 384)],
        ],
    ),
    ("residual_mean", &[&[]]),
    ("mean_of_largest", &[&[]]),
    ("inctrl_adapter", &[&[]]),
    ("inctrl_heads", &[&[], &[("images", 8)]]),
];

pub fn backend(c: &mut Criterion) {
    for (name, cases) in CASES {
        for given in *cases {
            let operation = op::named(name).expect("an operation");
            let given: Vec<_> = given.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            let sizes = Sizes::new(operation, &given).expect("sizes of the operation");
            let shape: Vec<String> = sizes.named().map(|(name, value)| format!("{name}={value}")).collect();
            bench(c, name, shape.join(" "), None, || {
                let mut cpu = cpu();
                let mut case = op::prepare(&mut cpu, &sizes).expect("a result that agrees with its formula").case;
                move || case.run(&mut cpu).expect("a result")
            });
        }
    }
}
