//! A map of cells at the size of the image, blurred.

use inctrl::backend::{Backend, Enlarge, Role};
use inctrl::tensor::{DType, TensorView};

use super::{Real, ULP, finish, input, output, random, real, same_bits, within};

on_every_device! {
    enlarge,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    maps: usize,
    rows: usize,
    cols: usize,
    patch: usize,
    radius: usize,
    mirrored: bool,
}

const CASES: &[Case] = &[
    Case { maps: 1, rows: 1, cols: 1, patch: 1, radius: 1, mirrored: true },
    Case { maps: 2, rows: 1, cols: 1, patch: 1, radius: 3, mirrored: false },
    Case { maps: 3, rows: 2, cols: 3, patch: 4, radius: 16, mirrored: false },
    Case { maps: 1, rows: 5, cols: 7, patch: 14, radius: 1, mirrored: true },
    Case { maps: 2, rows: 3, cols: 1, patch: 5, radius: 16, mirrored: true },
    Case { maps: 1, rows: 9, cols: 4, patch: 8, radius: 0, mirrored: false },
];

impl Case {
    fn blur(&self) -> Vec<f32> {
        random(7, 2 * self.radius + 1, 0.2).iter().map(|x| x.abs() + 0.01).collect()
    }

    /// Line `0..cells` of `get`, enlarged, at `pixel`, which may lie beyond either end.
    fn at<T: Real>(&self, cells: usize, pixel: i64, get: &dyn Fn(usize) -> T) -> T {
        let pixels = (cells * self.patch) as i64;
        let mut pixel = pixel;
        while !(0..pixels).contains(&pixel) {
            let edge = i64::from(!self.mirrored);
            pixel = if pixel < 0 { -pixel - edge } else { 2 * pixels - 2 - pixel + edge };
            if pixels == 1 {
                pixel = 0;
            }
        }
        let place = ((pixel as f64 + 0.5) / self.patch as f64 - 0.5).max(0.0);
        let (low, share) = (place as usize, place.fract());
        get(low) * T::of(1.0 - share) + get((low + 1).min(cells - 1)) * T::of(share)
    }

    fn formula<T: Real>(&self, map: &[f32]) -> Vec<T> {
        let (map, blur, radius) = (real::<T>(map), real::<T>(&self.blur()), self.radius as i64);
        let mut columns = Vec::new();
        for y in 0..(self.rows * self.patch) as i64 {
            for c in 0..self.cols {
                let at = |offset: i64| self.at(self.rows, y + offset, &|r| map[r * self.cols + c]);
                columns.push((-radius..=radius).zip(&blur).map(|(offset, &weight)| weight * at(offset)).sum::<T>());
            }
        }
        let mut out = Vec::new();
        for y in 0..self.rows * self.patch {
            for x in 0..(self.cols * self.patch) as i64 {
                let at = |offset: i64| self.at(self.cols, x + offset, &|c| columns[y * self.cols + c]);
                out.push((-radius..=radius).zip(&blur).map(|(offset, &weight)| weight * at(offset)).sum::<T>());
            }
        }
        out
    }
}

fn enlarge<B: Backend>(backends: &mut [B]) {
    for backend in &mut *backends {
        // Back and forth between grids, as a device keeps what it has worked out.
        for case in CASES.iter().chain(CASES.iter().rev()) {
            let &Case { maps, rows, cols, patch, mirrored, .. } = case;
            let cells = rows * cols;
            let host = random(1, maps * cells, 1.0);
            let valid: Vec<f32> = (0..maps * cells).map(|i| f32::from(i % 3 != 1)).collect();
            let bytes: Vec<u8> = case.blur().iter().flat_map(|x| x.to_le_bytes()).collect();
            let shape = [case.blur().len()];
            let blur = backend
                .constant(&TensorView { name: "blur", dtype: DType::F32, shape: &shape, bytes: (&bytes).into() })
                .unwrap();
            let (map, counts) = (input(backend, Role::Result, &host), input(backend, Role::Stream, &valid));
            for map_at in 0..maps {
                let at = Enlarge { map: map_at, rows, cols, patch, mirrored };
                let own = &host[map_at * cells..][..cells];
                let mut columns = output(backend, Role::Stream, cells * patch);
                let (mut out, mut counted) =
                    (output(backend, Role::Stream, at.pixels()), output(backend, Role::Stream, at.pixels()));
                backend.enlarge(&map, &counts, &at, &blur, &mut columns, &mut out, &mut counted).unwrap();
                let what = format!("enlarge, {}, {case:?}", backend.describe());
                let found = finish(backend, &out, at.pixels());
                // Along each axis a sum of all weights, each of which a pixel's place makes two parts of.
                let weight: f64 = case.blur().iter().map(|x| f64::from(*x)).sum();
                let largest = own.iter().fold(0.0, |most: f64, x| most.max(f64::from(x.abs())));
                let terms = (2 * (2 * case.radius + 1) + 8) as f64;
                let budget = terms * ULP * weight * weight * largest;
                within(&what, &found, &case.formula::<f64>(own), |_| budget);
                let expected: Vec<f32> = (0..at.pixels())
                    .map(|i| {
                        let (y, x) = (i / (cols * patch), i % (cols * patch));
                        valid[map_at * cells + y / patch * cols + x / patch]
                    })
                    .collect();
                same_bits(&what, &finish(backend, &counted, at.pixels()), &expected);
            }
        }
    }
}
