//! A surface before it is photographed: height, colour and finish of every pixel.
//!
//! Lengths are in units of the picture's side, x to the right and y down, so a picture looks the same at any size.

/// The material of a surface.
#[derive(Clone, Copy, Debug)]
pub struct Material {
    /// Linear reflectance, 0 to 1.
    pub colour: [f32; 3],
    /// Strength of the highlight, 0 (chalk) to 1 (glass).
    pub gloss: f32,
    /// Share of the light that is mirrored rather than scattered, 0 (paint) to 1 (steel).
    pub metal: f32,
}

impl Material {
    /// A matt material.
    pub const fn matt(colour: [f32; 3]) -> Self {
        Material { colour, gloss: 0.0, metal: 0.0 }
    }

    /// A glossy paint, glaze or plastic.
    pub const fn glossy(colour: [f32; 3], gloss: f32) -> Self {
        Material { colour, gloss, metal: 0.0 }
    }

    /// A bare metal.
    pub const fn metal(colour: [f32; 3], gloss: f32) -> Self {
        Material { colour, gloss, metal: 1.0 }
    }

    /// The same with its colour scaled.
    pub fn shaded(self, factor: f32) -> Self {
        Material { colour: self.colour.map(|c| (c * factor).clamp(0.0, 1.0)), ..self }
    }

    /// Between `self` and `other`.
    pub fn towards(self, other: Material, t: f32) -> Self {
        Material {
            colour: blend(self.colour, other.colour, t),
            gloss: self.gloss + (other.gloss - self.gloss) * t,
            metal: self.metal + (other.metal - self.metal) * t,
        }
    }
}

/// The linear colour of the 8-bit values that it is shown as, by the square law of [`super::lamp`].
pub const fn rgb(red: u8, green: u8, blue: u8) -> [f32; 3] {
    const fn linear(value: u8) -> f32 {
        let v = value as f32 / 255.0;
        v * v
    }
    [linear(red), linear(green), linear(blue)]
}

/// Between two colours.
pub fn blend(from: [f32; 3], to: [f32; 3], t: f32) -> [f32; 3] {
    std::array::from_fn(|c| from[c] + (to[c] - from[c]) * t)
}

/// One point of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// How much of the pixel the layer covers, 0 to 1.
    pub cover: f32,
    /// Height above the ground.
    pub height: f32,
    /// What it is made of.
    pub material: Material,
}

/// Turns distances to an outline, negative inside, into the share of the pixel that is covered.
#[derive(Clone, Copy, Debug)]
pub struct Edge(f32);

impl Edge {
    /// The share for the distance `d`.
    pub fn cover(self, d: f32) -> f32 {
        (0.5 - d * self.0).clamp(0.0, 1.0)
    }
}

/// The rectangle that a layer may touch: left, top, right, bottom.
pub type Bounds = [f32; 4];

/// The square of half side `radius` around `centre`.
pub fn around(centre: [f32; 2], radius: f32) -> Bounds {
    [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
}

/// A surface of `side * side` points, row by row.
#[derive(Clone, Debug)]
pub struct Relief {
    /// Points of a side.
    pub side: usize,
    /// Height above the ground.
    pub height: Vec<f32>,
    /// What each point is made of.
    pub material: Vec<Material>,
    /// Share of the product, rather than of what it lies on, in each point: 0 to 1.
    pub part: Vec<f32>,
}

impl Relief {
    /// Ground that is not part of the product.
    pub fn ground(side: usize, spot: impl Fn([f32; 2]) -> (f32, Material)) -> Self {
        let (mut height, mut material) = (Vec::with_capacity(side * side), Vec::with_capacity(side * side));
        for i in 0..side * side {
            let (h, m) = spot(place(i % side, i / side, side));
            height.push(h);
            material.push(m);
        }
        Relief { side, height, material, part: vec![0.0; side * side] }
    }

    /// A product that fills the picture.
    pub fn sheet(side: usize, spot: impl Fn([f32; 2]) -> (f32, Material)) -> Self {
        let mut relief = Relief::ground(side, spot);
        relief.part.fill(1.0);
        relief
    }

    /// The sharpness of outlines at this size.
    pub fn edge(&self) -> Edge {
        Edge(self.side as f32)
    }

    /// Lays a piece of the product over what is there.
    pub fn paint(&mut self, bounds: Bounds, spot: impl Fn([f32; 2]) -> Option<Spot>) {
        for (i, point) in self.points(bounds) {
            let Some(spot) = spot(point) else { continue };
            self.height[i] += (spot.height - self.height[i]) * spot.cover;
            self.material[i] = self.material[i].towards(spot.material, spot.cover);
            self.part[i] += (1.0 - self.part[i]) * spot.cover;
        }
    }

    /// Index and place of every point whose centre may lie in `bounds`.
    pub fn points(&self, bounds: Bounds) -> impl Iterator<Item = (usize, [f32; 2])> + use<> {
        let side = self.side;
        let clamped = |at: f32, more: usize| ((at * side as f32).max(0.0) as usize + more).min(side);
        let [left, top] = [clamped(bounds[0], 0), clamped(bounds[1], 0)];
        let [right, bottom] = [clamped(bounds[2], 1), clamped(bounds[3], 1)];
        (top..bottom).flat_map(move |y| (left..right).map(move |x| (y * side + x, place(x, y, side))))
    }

    /// Index of the point at `place`, held inside the picture.
    pub fn index(&self, place: [f32; 2]) -> usize {
        let [x, y] = place.map(|at| ((at * self.side as f32).max(0.0) as usize).min(self.side - 1));
        y * self.side + x
    }
}

/// The centre of a pixel.
fn place(x: usize, y: usize, side: usize) -> [f32; 2] {
    [x, y].map(|at| (at as f32 + 0.5) / side as f32)
}
