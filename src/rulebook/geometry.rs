//! Shapes on Earth in whole 1e-7 degrees: which side a position is on (exact) and how far the boundary is (metres).
//!
//! Sides come from integer cross products, so every machine agrees to the unit; the boundary itself counts as inside. Distances
//! come from an equirectangular projection at the position, corrected to the middle latitude of the nearest point: only
//! + - * / and sqrt, and cosine from `libm`. A polygon cut at the antimeridian (RFC 7946) has no boundary where it was cut.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::position::Position;

/// Longitude and latitude in 1e-7 degree, in the order of GeoJSON.
pub(super) type Vertex = [i32; 2];
/// A closed line: its last vertex equals its first.
pub(super) type Ring = Vec<Vertex>;

/// Metres of one unit of latitude on the sphere of mean radius 6,371,008.8 m.
const METRES_PER_UNIT: f64 = 6_371_008.8 * std::f64::consts::PI / 180.0 / 1e7;
/// Units in half a turn.
pub(super) const HALF_TURN: i32 = 1_800_000_000;
const TURN: i64 = 2 * HALF_TURN as i64;
/// Added to every reach, so that rounding cannot hide a fence from [`Outline::may_reach`].
const SLACK_METRES: f64 = 1.0;

/// An area. Does not print its coordinates.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Shape {
    /// Polygons that do not overlap, each an outer ring and its holes.
    Polygons { polygons: Vec<Vec<Ring>> },
    /// All within a radius.
    Circle { middle: Vertex, radius_metres: f64 },
    /// All within half a width of a line.
    Corridor { paths: Vec<Vec<Vertex>>, width_metres: f64 },
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shape(redacted)")
    }
}

impl Shape {
    /// Every line of it: rings or paths.
    fn lines(&self) -> Vec<&[Vertex]> {
        match self {
            Self::Polygons { polygons } => polygons.iter().flatten().map(Vec::as_slice).collect(),
            Self::Circle { middle, .. } => vec![std::slice::from_ref(middle)],
            Self::Corridor { paths, .. } => paths.iter().map(Vec::as_slice).collect(),
        }
    }

    /// Whether it has the form and the limits that computing with it relies on; not whether its rings cross.
    pub(super) fn usable(&self) -> Result<(), String> {
        let lines = self.lines();
        let vertices: usize = lines.iter().map(|line| line.len()).sum();
        if vertices == 0 || vertices > limits::FENCE_VERTICES_MAX {
            return Err(format!("the shape has {vertices} vertices, must have 1 to {}", limits::FENCE_VERTICES_MAX));
        }
        if lines.iter().copied().flatten().any(|[lon, lat]| Position::from_e7(*lat, *lon).is_none()) {
            return Err("a coordinate of the shape is out of range".to_owned());
        }
        match self {
            Self::Polygons { polygons } => {
                if polygons.iter().any(Vec::is_empty) || lines.iter().any(|ring| ring.len() < 4 || ring.first() != ring.last()) {
                    return Err("a ring of the shape is not closed or has under 3 corners".to_owned());
                }
                Ok(())
            }
            Self::Circle { radius_metres, .. } => radius_usable(*radius_metres),
            Self::Corridor { paths, width_metres } => {
                if paths.iter().any(|path| path.len() < 2) {
                    return Err("a path of the shape has under 2 points".to_owned());
                }
                radius_usable(width_metres / 2.0)
            }
        }
    }
}

fn radius_usable(metres: f64) -> Result<(), String> {
    if (limits::FENCE_RADIUS_METRES_MIN..=limits::FENCE_RADIUS_METRES_MAX).contains(&metres) {
        Ok(())
    } else {
        Err("the shape's radius or half width is out of range".to_owned())
    }
}

/// Which side of a ring or shape a place is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Inside,
    Boundary,
    Outside,
}

/// The cross product of `from -> to` and `from -> point`: positive where the point is to the left. Exact.
pub(super) fn cross(from: [i64; 2], to: [i64; 2], point: [i64; 2]) -> i128 {
    let [dx, dy] = [i128::from(to[0] - from[0]), i128::from(to[1] - from[1])];
    let [px, py] = [i128::from(point[0] - from[0]), i128::from(point[1] - from[1])];
    dx * py - dy * px
}

/// Which side of the rings the point is on, by the even-odd rule; `scale` multiplies the rings' coordinates.
pub(super) fn side_of<'a>(rings: impl IntoIterator<Item = &'a [Vertex]>, scale: i64, point: [i64; 2]) -> Side {
    let mut inside = false;
    for ring in rings {
        for pair in ring.windows(2) {
            let a = pair[0].map(|unit| i64::from(unit) * scale);
            let b = pair[1].map(|unit| i64::from(unit) * scale);
            let (low, high) = if a[1] <= b[1] { (a, b) } else { (b, a) };
            if point[1] < low[1] || point[1] > high[1] {
                continue;
            }
            let turn = cross(low, high, point);
            let between = point[0] >= a[0].min(b[0]) && point[0] <= a[0].max(b[0]);
            if turn == 0 && between {
                return Side::Boundary;
            }
            // Half open in latitude, so that a corner counts for one of its two edges.
            if point[1] < high[1] && turn > 0 {
                inside = !inside;
            }
        }
    }
    if inside { Side::Inside } else { Side::Outside }
}

/// The smallest box around a part, in units, with what its metres add around it.
#[derive(Clone, PartialEq)]
struct Bounds {
    south: i32,
    north: i32,
    west: i32,
    east: i32,
    pad_metres: f64,
    /// The least cosine of the box's latitudes.
    cosine: f64,
}

impl Bounds {
    fn of<'a>(vertices: impl IntoIterator<Item = &'a Vertex>, pad_metres: f64) -> Self {
        let mut bounds = Self { south: i32::MAX, north: i32::MIN, west: i32::MAX, east: i32::MIN, pad_metres, cosine: 0.0 };
        for [lon, lat] in vertices {
            bounds.south = bounds.south.min(*lat);
            bounds.north = bounds.north.max(*lat);
            bounds.west = bounds.west.min(*lon);
            bounds.east = bounds.east.max(*lon);
        }
        bounds.cosine = cosine(f64::from(bounds.south)).min(cosine(f64::from(bounds.north)));
        bounds
    }

    fn may_reach(&self, reach: &Reach) -> bool {
        let (lat, lon) = (i64::from(reach.position.lat_e7()), i64::from(reach.position.lon_e7()));
        let north = (i64::from(self.south) - lat).max(lat - i64::from(self.north)).max(0);
        let [west, east] = [i64::from(self.west), i64::from(self.east)];
        let east = [lon - TURN, lon, lon + TURN].map(|lon| (west - lon).max(lon - east).max(0)).into_iter().min().unwrap_or(0);
        let [north, east] = [as_f64(north), as_f64(east) * self.cosine.min(reach.cosine)];
        let reach = (reach.metres + self.pad_metres + SLACK_METRES) / METRES_PER_UNIT;
        north * north + east * east <= reach * reach
    }
}

/// A shape with what is worked out once: boxes around its parts, and where it was cut at the antimeridian.
#[derive(Clone, PartialEq)]
pub(super) struct Outline {
    parts: Vec<Bounds>,
    /// Latitudes between which the shape crosses the antimeridian.
    cuts: Vec<(i32, i32)>,
    /// What is boundary after all among the edges along the antimeridian of a shape with cuts.
    along: Vec<[Vertex; 2]>,
}

impl fmt::Debug for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outline(redacted)")
    }
}

/// A circle around a position, with what looking for shapes in it needs more than once.
pub(super) struct Reach {
    position: Position,
    cosine: f64,
    metres: f64,
}

impl Reach {
    pub(super) fn of(position: Position, metres: f64) -> Self {
        Self { position, cosine: cosine(f64::from(position.lat_e7())), metres }
    }
}

impl Outline {
    /// Works it out. The shape must be [`Shape::usable`].
    pub(super) fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Polygons { polygons } => {
                let parts = polygons.iter().map(|rings| Bounds::of(&rings[0], 0.0)).collect();
                let (cuts, along) = cuts_of(polygons);
                Self { parts, cuts, along }
            }
            Shape::Circle { middle, radius_metres } => {
                Self { parts: vec![Bounds::of([middle], *radius_metres)], cuts: Vec::new(), along: Vec::new() }
            }
            Shape::Corridor { paths, width_metres } => {
                let parts = paths.iter().map(|path| Bounds::of(path, width_metres / 2.0)).collect();
                Self { parts, cuts: Vec::new(), along: Vec::new() }
            }
        }
    }

    /// Whether the shape may lie within reach: never a wrong no.
    pub(super) fn may_reach(&self, reach: &Reach) -> bool {
        self.parts.iter().any(|part| part.may_reach(reach))
    }

    /// Metres to the boundary, negative inside, zero on it.
    pub(super) fn signed_distance_metres(&self, shape: &Shape, position: Position) -> f64 {
        match shape {
            Shape::Polygons { polygons } => {
                let side = self.side(polygons, position);
                if side == Side::Boundary {
                    return 0.0;
                }
                let mut nearest = Nearest::to(position);
                for ring in polygons.iter().flatten() {
                    for pair in ring.windows(2).filter(|pair| self.cuts.is_empty() || !runs_along(pair[0], pair[1])) {
                        nearest.look(pair[0], pair[1]);
                    }
                }
                for [from, to] in &self.along {
                    nearest.look(*from, *to);
                }
                if side == Side::Inside { 0.0 - nearest.metres() } else { nearest.metres() }
            }
            Shape::Circle { middle, radius_metres } => {
                let mut nearest = Nearest::to(position);
                nearest.look(*middle, *middle);
                nearest.metres() - radius_metres
            }
            Shape::Corridor { paths, width_metres } => {
                let mut nearest = Nearest::to(position);
                for pair in paths.iter().flat_map(|path| path.windows(2)) {
                    nearest.look(pair[0], pair[1]);
                }
                nearest.metres() - width_metres / 2.0
            }
        }
    }

    fn side(&self, polygons: &[Vec<Ring>], position: Position) -> Side {
        let (lon, lat) = (position.lon_e7(), position.lat_e7());
        let at = |lon: i32| side_of(polygons.iter().flatten().map(Vec::as_slice), 1, [i64::from(lon), i64::from(lat)]);
        if lon.abs() != HALF_TURN {
            return at(lon);
        }
        if self.cuts.iter().any(|(south, north)| lat > *south && lat < *north) {
            return Side::Inside;
        }
        match (at(HALF_TURN), at(-HALF_TURN)) {
            (Side::Outside, side) | (side, _) => side,
        }
    }
}

fn runs_along(from: Vertex, to: Vertex) -> bool {
    from[0] == to[0] && from[0].abs() == HALF_TURN
}

/// Where polygons meet themselves across the antimeridian, and which of their edges along it do not.
fn cuts_of(polygons: &[Vec<Ring>]) -> (Vec<(i32, i32)>, Vec<[Vertex; 2]>) {
    let edges: Vec<(i32, i32, i32)> = (polygons.iter().flatten())
        .flat_map(|ring| ring.windows(2))
        .filter(|pair| runs_along(pair[0], pair[1]) && pair[0][1] != pair[1][1])
        .map(|pair| (pair[0][0], pair[0][1].min(pair[1][1]), pair[0][1].max(pair[1][1])))
        .collect();
    let mut cuts = Vec::new();
    for (_, south, north) in edges.iter().filter(|(lon, ..)| *lon == HALF_TURN) {
        for (_, other_south, other_north) in edges.iter().filter(|(lon, ..)| *lon == -HALF_TURN) {
            let (from, to) = (*south.max(other_south), *north.min(other_north));
            if from < to {
                cuts.push((from, to));
            }
        }
    }
    cuts.sort_unstable();
    if cuts.is_empty() {
        return (cuts, Vec::new());
    }
    let mut along = Vec::new();
    for (lon, south, north) in edges {
        let mut at = south;
        for (from, to) in cuts.iter().filter(|(from, to)| *to > south && *from < north) {
            if *from > at {
                along.push([[lon, at], [lon, *from]]);
            }
            at = at.max(*to);
        }
        if at < north {
            along.push([[lon, at], [lon, north]]);
        }
    }
    (merged(cuts), along)
}

/// Joins intervals that touch: a position where two of them meet is inside too.
fn merged(sorted: Vec<(i32, i32)>) -> Vec<(i32, i32)> {
    let mut joined: Vec<(i32, i32)> = Vec::new();
    for (from, to) in sorted {
        match joined.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(to),
            Some(_) | None => joined.push((from, to)),
        }
    }
    joined
}

/// The nearest point of some lines, seen from a position.
struct Nearest {
    lat: i64,
    lon: i64,
    cosine: f64,
    least: f64,
    /// Units east and north of the position.
    offset: [f64; 2],
}

impl Nearest {
    fn to(position: Position) -> Self {
        let (lat, lon) = (i64::from(position.lat_e7()), i64::from(position.lon_e7()));
        Self { lat, lon, cosine: cosine(as_f64(lat)), least: f64::INFINITY, offset: [f64::INFINITY; 2] }
    }

    fn look(&mut self, from: Vertex, to: Vertex) {
        let mut east = i64::from(from[0]) - self.lon;
        if east > TURN / 2 {
            east -= TURN;
        } else if east < -TURN / 2 {
            east += TURN;
        }
        let [ax, ay] = [as_f64(east), as_f64(i64::from(from[1]) - self.lat)];
        let [dx, dy] = [as_f64(i64::from(to[0]) - i64::from(from[0])), as_f64(i64::from(to[1]) - i64::from(from[1]))];
        let [px, qx] = [ax * self.cosine, dx * self.cosine];
        let length = qx * qx + dy * dy;
        let along = if length > 0.0 { (-(px * qx + ay * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
        let [x, y] = [px + along * qx, ay + along * dy];
        let square = x * x + y * y;
        if square < self.least {
            self.least = square;
            self.offset = [ax + along * dx, ay + along * dy];
        }
    }

    /// The distance, with the cosine of the latitude halfway: at 50 km that is right to a metre or so, where the position's own is off by hundreds.
    fn metres(&self) -> f64 {
        let [east, north] = self.offset;
        let x = east * cosine(as_f64(self.lat) + north / 2.0);
        (x * x + north * north).sqrt() * METRES_PER_UNIT
    }
}

/// Cosine of a latitude in units, never negative (rounding at a pole).
fn cosine(lat_units: f64) -> f64 {
    libm::cos(lat_units * (std::f64::consts::PI / 180.0 / 1e7)).max(0.0)
}

#[allow(clippy::cast_precision_loss, reason = "differences of coordinates are under 2^33, f64 is exact to 2^53")]
fn as_f64(units: i64) -> f64 {
    units as f64
}

#[cfg(test)]
#[path = "geometry_tests.rs"]
mod tests;
