//! Whether the rings of a fence make an area: they do not cross, run along each other or lie where they may not.
//!
//! Exact on the integer coordinates that are stored, and it names the coordinates at fault; `geo`'s validation, which does
//! neither and takes time quadratic in the vertices, is its oracle in the tests. Memory is linear; time is that of a sweep
//! from west to east.

use std::collections::{BTreeMap, BTreeSet};

use super::geometry::{Ring, Side, Vertex, cross, side_of};

/// A ring's place: which polygon, and which of its rings (0 is the outer one).
pub(super) type RingAt = (usize, usize);

/// What is wrong with rings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RingFault {
    /// A ring meets itself: the edges from these two coordinates.
    MeetsItself(RingAt, usize, usize),
    /// Two rings cross or share a stretch: the edges from these coordinates.
    Meet(RingAt, usize, RingAt, usize),
    /// A hole is not within its polygon.
    HoleOutside(RingAt),
    /// Two holes, or two polygons, overlap.
    Overlap(RingAt, RingAt),
}

/// Every fault of polygons, one for each ring or pair of rings. Rings are closed, have no vertex twice in a row and at least 3 corners.
pub(super) fn faults(polygons: &[Vec<Ring>]) -> Vec<RingFault> {
    let meetings = sweep(&edges_of(polygons));
    let mut faults: Vec<RingFault> = Vec::new();
    let mut touching = BTreeSet::new();
    for ((one, other), (meeting, from, to)) in meetings {
        match meeting {
            Meeting::Touch if one != other => drop(touching.insert((one, other))),
            Meeting::Touch | Meeting::Cross if one == other => faults.push(RingFault::MeetsItself(one, from, to)),
            Meeting::Touch | Meeting::Cross => faults.push(RingFault::Meet(one, from, other, to)),
        }
    }
    if faults.is_empty() {
        faults = misplaced(polygons, &touching);
    }
    faults
}

struct Edge {
    ring: RingAt,
    index: usize,
    last: bool,
    a: Vertex,
    b: Vertex,
}

impl Edge {
    fn west(&self) -> i32 {
        self.a[0].min(self.b[0])
    }

    fn east(&self) -> i32 {
        self.a[0].max(self.b[0])
    }

    fn follows(&self, other: &Self) -> bool {
        self.ring == other.ring && (self.index == other.index + 1 || (self.index == 0 && other.last))
    }
}

fn edges_of(polygons: &[Vec<Ring>]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (polygon, rings) in polygons.iter().enumerate() {
        for (ring, vertices) in rings.iter().enumerate() {
            for (index, pair) in vertices.windows(2).enumerate() {
                let last = index + 2 == vertices.len();
                edges.push(Edge { ring: (polygon, ring), index, last, a: pair[0], b: pair[1] });
            }
        }
    }
    edges.sort_by_key(|edge| (edge.west(), edge.ring, edge.index));
    edges
}

/// How two edges meet. `Cross` is the worse: it includes running along each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meeting {
    Touch,
    Cross,
}

/// The worst meeting of each pair of rings (a pair of a ring with itself included), with the edges' indices.
fn sweep(edges: &[Edge]) -> BTreeMap<(RingAt, RingAt), (Meeting, usize, usize)> {
    let mut found: BTreeMap<(RingAt, RingAt), (Meeting, usize, usize)> = BTreeMap::new();
    let mut open: Vec<&Edge> = Vec::new();
    for edge in edges {
        open.retain(|other| other.east() >= edge.west());
        for other in &open {
            let (first, second) =
                if (other.ring, other.index) <= (edge.ring, edge.index) { (*other, edge) } else { (edge, *other) };
            let Some(meeting) = meet(first, second) else { continue };
            let new = (meeting, first.index, second.index);
            found
                .entry((first.ring, second.ring))
                .and_modify(|known| {
                    if new.0 > known.0 {
                        *known = new;
                    }
                })
                .or_insert(new);
        }
        open.push(edge);
    }
    found
}

fn meet(one: &Edge, other: &Edge) -> Option<Meeting> {
    let [south, north] = [one.a[1].min(one.b[1]), one.a[1].max(one.b[1])];
    if other.a[1].max(other.b[1]) < south || other.a[1].min(other.b[1]) > north {
        return None;
    }
    let wide = |vertex: Vertex| vertex.map(i64::from);
    let [a, b, c, d] = [wide(one.a), wide(one.b), wide(other.a), wide(other.b)];
    let [at_c, at_d, at_a, at_b] =
        [cross(a, b, c).signum(), cross(a, b, d).signum(), cross(c, d, a).signum(), cross(c, d, b).signum()];
    if at_c == 0 && at_d == 0 {
        return meet_in_line(one, other);
    }
    if at_c * at_d > 0 || at_a * at_b > 0 {
        return None;
    }
    if at_c * at_d < 0 && at_a * at_b < 0 {
        return Some(Meeting::Cross);
    }
    // They share one point, an end of one of them: neighbours in a ring always do, at the corner between them.
    (!one.follows(other) && !other.follows(one)).then_some(Meeting::Touch)
}

/// Two edges on one line: apart, end to end, or with a stretch in common.
fn meet_in_line(one: &Edge, other: &Edge) -> Option<Meeting> {
    let axis = usize::from(one.a[0] == one.b[0]);
    let from = one.a[axis].min(one.b[axis]).max(other.a[axis].min(other.b[axis]));
    let to = one.a[axis].max(one.b[axis]).min(other.a[axis].max(other.b[axis]));
    match from.cmp(&to) {
        std::cmp::Ordering::Less => Some(Meeting::Cross),
        std::cmp::Ordering::Equal => (!one.follows(other) && !other.follows(one)).then_some(Meeting::Touch),
        std::cmp::Ordering::Greater => None,
    }
}

/// Faults in where rings lie; they are known not to cross.
fn misplaced(polygons: &[Vec<Ring>], touching: &BTreeSet<(RingAt, RingAt)>) -> Vec<RingFault> {
    let mut faults = Vec::new();
    let relate = |one: RingAt, other: RingAt| {
        let touch = touching.contains(&(one.min(other), one.max(other)));
        relation(&polygons[one.0][one.1], &polygons[other.0][other.1], touch)
    };
    for (polygon, rings) in polygons.iter().enumerate() {
        for hole in 1..rings.len() {
            if relate((polygon, 0), (polygon, hole)) != Relation::Around {
                faults.push(RingFault::HoleOutside((polygon, hole)));
            }
            for other in hole + 1..rings.len() {
                if relate((polygon, hole), (polygon, other)) != Relation::Apart {
                    faults.push(RingFault::Overlap((polygon, hole), (polygon, other)));
                }
            }
        }
        for (other, other_rings) in polygons.iter().enumerate().skip(polygon + 1) {
            let free = match relate((polygon, 0), (other, 0)) {
                Relation::Apart => true,
                Relation::Around => (1..rings.len()).any(|hole| relate((polygon, hole), (other, 0)) == Relation::Around),
                Relation::Within => (1..other_rings.len()).any(|hole| relate((other, hole), (polygon, 0)) == Relation::Around),
                Relation::Mixed => false,
            };
            if !free {
                faults.push(RingFault::Overlap((polygon, 0), (other, 0)));
            }
        }
    }
    faults
}

/// How one ring's area lies to another's, seen from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Around,
    Within,
    Apart,
    Mixed,
}

fn relation(one: &Ring, other: &Ring, touching: bool) -> Relation {
    let (other_inside, other_outside) = sides(one, other, touching);
    let (one_inside, one_outside) = sides(other, one, touching);
    match (other_inside, other_outside, one_inside, one_outside) {
        (true, false, false, _) => Relation::Around,
        (false, _, true, false) => Relation::Within,
        (false, true, false, _) | (false, _, false, true) => Relation::Apart,
        (true | false, true | false, true | false, true | false) => Relation::Mixed,
    }
}

/// Whether points of `line` lie inside and outside of `ring`. Rings that do not touch are on one side throughout, so one point tells;
/// others may pass through each other's corners, so every corner and the middle of every edge is asked.
fn sides(ring: &Ring, line: &Ring, touching: bool) -> (bool, bool) {
    let corners = line.iter().map(|vertex| vertex.map(|unit| 2 * i64::from(unit)));
    let middles = line.windows(2).map(|pair| [0, 1].map(|axis| i64::from(pair[0][axis]) + i64::from(pair[1][axis])));
    let count = if touching { usize::MAX } else { 1 };
    let (mut inside, mut outside) = (false, false);
    for point in corners.chain(middles).take(count) {
        match side_of([ring.as_slice()], 2, point) {
            Side::Inside => inside = true,
            Side::Outside => outside = true,
            Side::Boundary => {}
        }
    }
    (inside, outside)
}

#[cfg(test)]
#[path = "validity_tests.rs"]
mod tests;
