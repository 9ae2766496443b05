//! Faults against `geo`'s validation, on a grid so small that touches and overlaps abound; and named ones by hand.

use geo::{LineString, MultiPolygon, Polygon, Validation as _};
use proptest::prelude::*;

use super::*;

fn ring(corners: &[(i32, i32)]) -> Ring {
    let mut ring: Ring = corners.iter().map(|(x, y)| [*x, *y]).collect();
    ring.push(ring[0]);
    ring
}

fn square(low: i32, high: i32) -> Ring {
    ring(&[(low, low), (high, low), (high, high), (low, high)])
}

fn geo_line(ring: &Ring) -> LineString<f64> {
    ring.iter().map(|[x, y]| (f64::from(*x), f64::from(*y))).collect()
}

fn geo_says_valid(polygons: &[Vec<Ring>]) -> bool {
    let polygons = polygons.iter().map(|rings| Polygon::new(geo_line(&rings[0]), rings[1..].iter().map(geo_line).collect()));
    MultiPolygon::new(polygons.collect()).is_valid()
}

/// Corners on a small grid; rings that fold back are left out, because the oracle does not see them.
fn small_ring(corners: std::ops::Range<usize>, side: i32) -> impl Strategy<Value = Ring> {
    prop::collection::vec((0..side, 0..side), corners).prop_filter_map("corners repeat or fold back", |corners| {
        let ring = ring(&corners);
        let repeats = ring.windows(2).any(|pair| pair[0] == pair[1]);
        let folds = ring.windows(3).chain([[ring[ring.len() - 2], ring[0], ring[1]].as_slice()]).any(|three| {
            let [a, b, c] = [three[0], three[1], three[2]].map(|vertex| vertex.map(i64::from));
            cross(a, b, c) == 0 && (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]) < 0
        });
        (!repeats && !folds).then_some(ring)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn single_rings_agree_with_geo(ring in small_ring(3..8, 6)) {
        let polygons = vec![vec![ring]];
        prop_assert_eq!(faults(&polygons).is_empty(), geo_says_valid(&polygons), "{:?}", polygons);
    }

    #[test]
    fn holes_agree_with_geo(outer in small_ring(3..6, 8), hole in small_ring(3..5, 8), other in small_ring(3..4, 8)) {
        let polygons = vec![vec![outer, hole, other]];
        prop_assert_eq!(faults(&polygons).is_empty(), geo_says_valid(&polygons), "{:?}", polygons);
    }

    #[test]
    fn polygons_agree_with_geo(one in small_ring(3..6, 8), other in small_ring(3..6, 8)) {
        let polygons = vec![vec![one], vec![other]];
        prop_assert_eq!(faults(&polygons).is_empty(), geo_says_valid(&polygons), "{:?}", polygons);
    }
}

#[test]
fn the_edges_at_fault_are_named() {
    let bow = ring(&[(0, 0), (4, 4), (4, 0), (0, 4)]);
    assert_eq!(faults(&[vec![bow]]), [RingFault::MeetsItself((0, 0), 0, 2)]);
    let spike = ring(&[(0, 0), (4, 0), (4, 4), (4, 9), (4, 4), (0, 4)]);
    assert!(matches!(faults(&[vec![spike]])[..], [RingFault::MeetsItself((0, 0), ..)]), "geo does not see this one");
    let crossing = ring(&[(1, 1), (9, 2), (2, 3)]);
    assert!(matches!(faults(&[vec![square(0, 4), crossing]])[..], [RingFault::Meet((0, 0), _, (0, 1), _)]));
}

#[test]
fn rings_must_lie_where_they_may() {
    assert_eq!(faults(&[vec![square(0, 4), square(5, 6)]]), [RingFault::HoleOutside((0, 1))]);
    assert_eq!(faults(&[vec![square(0, 9), square(1, 8), square(2, 7)]]), [RingFault::Overlap((0, 1), (0, 2))]);
    assert_eq!(faults(&[vec![square(0, 9)], vec![square(1, 8)]]), [RingFault::Overlap((0, 0), (1, 0))]);
    assert_eq!(faults(&[vec![square(0, 9), square(1, 8)], vec![square(2, 7)]]), [], "an island in a hole");
    assert_eq!(faults(&[vec![square(2, 7)], vec![square(0, 9), square(1, 8)]]), [], "in either order");
}

#[test]
fn a_hole_may_touch_its_ring_at_a_corner() {
    let hole = ring(&[(0, 2), (2, 1), (3, 2), (2, 3)]);
    assert_eq!(faults(&[vec![square(0, 4), hole]]), []);
}

#[test]
fn a_large_ring_is_judged_in_little_time() {
    let mut corners: Vec<(i32, i32)> = (0..20_000).map(|x| (x * 10, x % 7)).collect();
    corners.extend((0..20_000).rev().map(|x| (x * 10, 100 + x % 5)));
    assert_eq!(faults(&[vec![ring(&corners)]]), []);
}
