//! Products and what follows them: activations, gates, and the algorithm of a lane.

use super::*;

#[test]
fn cuda_linear() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (rows, inputs, outputs, biased) in
                [(1, 64, 64, true), (5, 64, 192, true), (17, 128, 32, false), (10, 588, 64, true), (3, 256, 24, false)]
            {
                let (x, old) = (halves(1, rows * inputs, 1.0), halves(2, rows * outputs, 1.0));
                // Rows of a larger weight, as the joint projection of queries, keys and values is split.
                let weight = Stored::f32(&[outputs + 3, inputs], &halves(3, (outputs + 3) * inputs, 0.1));
                let bias = Stored::f32(&[outputs + 3], &halves(4, outputs + 3, 1.0));
                let bias = biased.then(|| bias.view());
                let layer = backend.linear_weights(&weight.view(), 2..2 + outputs, bias.as_ref()).unwrap();
                let x = filled(backend, Role::Operand, &x);
                let mut out = backend.buffer(Role::Operand, rows * outputs).unwrap();
                backend.linear(&x, rows, &layer, &mut out).unwrap();
                results.push((format!("linear {rows} x {inputs} x {outputs}"), read(backend, &out, rows * outputs)));
                let mut out = backend.buffer(Role::Stream, rows * outputs).unwrap();
                backend.linear(&x, rows, &layer, &mut out).unwrap();
                results.push((format!("to f32 {rows} x {inputs} x {outputs}"), read(backend, &out, rows * outputs)));
                let mut out = filled(backend, Role::Stream, &old);
                backend.linear_add(&x, rows, &layer, &mut out).unwrap();
                results.push((format!("added {rows} x {inputs} x {outputs}"), read(backend, &out, rows * outputs)));
                for kind in [Gelu::Exact, Gelu::Quick] {
                    let mut out = backend.buffer(Role::Operand, rows * outputs).unwrap();
                    backend.linear_gelu(&x, rows, &layer, outputs, kind, &mut out).unwrap();
                    results.push((format!("{kind:?} {rows} x {inputs}"), read(backend, &out, rows * outputs)));
                }
                let stored = Stored::f32(&[inputs, outputs], &halves(5, inputs * outputs, 0.1));
                let projection = backend.projection_weights(&stored.view()).unwrap();
                let mut out = backend.buffer(Role::Stream, rows * outputs).unwrap();
                backend.linear(&x, rows, &projection, &mut out).unwrap();
                results.push((format!("projection {rows} x {inputs}"), read(backend, &out, rows * outputs)));
            }
            results
        }
    }
    // The product, and the activation of the rounded product.
    compare(2.0, Op);
}

#[test]
fn cuda_gelu() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (kind, len) in [(Gelu::Exact, 1), (Gelu::Exact, 2049), (Gelu::Quick, 4103), (Gelu::Exact, 4096)] {
                let host = halves(1, len, 3.0);
                let mut x = filled(backend, Role::Operand, &host);
                backend.gelu(kind, len, &mut x).unwrap();
                results.push((format!("gelu {kind:?} {len}"), read(backend, &x, len)));
            }
            results
        }
    }
    compare(1.0, Op);
}

#[test]
fn cuda_swiglu() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Rows of whole vectors and of others, and blocks with a rest of either.
            for (rows, width) in [(1, 8), (1, 1), (3, 344), (2, 1024), (7, 37), (5, 416), (1, 2056)] {
                let x = filled(backend, Role::Operand, &halves(1, rows * 2 * width, 3.0));
                let mut out = backend.buffer(Role::Operand, rows * width).unwrap();
                backend.swiglu(&x, rows, width, &mut out).unwrap();
                results.push((format!("swiglu {rows} x {width}"), read(backend, &out, rows * width)));
            }
            results
        }
    }
    compare(1.0, Op);
}

/// A lane that chooses freely multiplies each number of rows as a device that was opened so, and leaves its device as
/// it was.
#[test]
fn cuda_a_free_lane_takes_the_library_s_choice() {
    let Some(turn) = turn() else { return };
    let (outputs, inputs) = (24, 200);
    let products = |cuda: &mut inctrl::backend::cuda::Cuda, rows: usize| {
        let weight: Vec<u8> = halves(1, outputs * inputs, 1.0).iter().flat_map(|x| x.to_le_bytes()).collect();
        let weight = TensorView { name: "w", shape: &[outputs, inputs], dtype: DType::F32, bytes: (&weight).into() };
        let layer = cuda.linear_weights(&weight, 0..outputs, None).unwrap();
        let x = filled(cuda, Role::Operand, &halves(2, rows * inputs, 1.0));
        let mut out = cuda.buffer(Role::Stream, rows * outputs).unwrap();
        cuda.linear(&x, rows, &layer, &mut out).unwrap();
        read(cuda, &out, rows * outputs)
    };
    let mut fixed = turn.cuda(true);
    let mut options = inctrl::backend::cuda::CudaOptions::default();
    options.fast = true;
    let mut fast = inctrl::backend::cuda::Cuda::new(0, options).unwrap();
    let mut free = fixed.fork_free().unwrap();
    let mut differ = false;
    for rows in [1, 3, 40, 300] {
        let (a, b, c) = (products(&mut fixed, rows), products(&mut fast, rows), products(&mut free, rows));
        assert!(b.iter().zip(&c).all(|(b, c)| b.to_bits() == c.to_bits()), "{rows} rows");
        differ |= a != c;
        assert_eq!(products(&mut fixed, rows), a, "{rows} rows, again");
    }
    assert!(differ || !turn.is_emulated(), "the emulator's choices differ in their last bits");
}
