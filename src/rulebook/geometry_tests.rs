//! Sides against `geo` on random polygons with holes, distances against haversine; seams, poles, circles and corridors by hand.

use geo::{Contains as _, Distance as _, Haversine, Intersects as _, LineString, Point, Polygon};
use proptest::prelude::*;

use super::*;

fn at(lon: f64, lat: f64) -> Position {
    Position::from_degrees(lat, lon).unwrap()
}

fn unit(degrees: f64) -> i32 {
    at(degrees, 0.0).lon_e7()
}

fn ring(corners: &[(f64, f64)]) -> Ring {
    let mut ring: Ring = corners.iter().map(|(lon, lat)| [unit(*lon), at(0.0, *lat).lat_e7()]).collect();
    ring.push(ring[0]);
    ring
}

fn square(west: f64, south: f64, east: f64, north: f64) -> Ring {
    ring(&[(west, south), (east, south), (east, north), (west, north)])
}

fn distance(shape: &Shape, position: Position) -> f64 {
    shape.usable().unwrap();
    Outline::of(shape).signed_distance_metres(shape, position)
}

/// Exactly there, and not minus zero, which prints otherwise.
fn on_boundary(shape: &Shape, position: Position) -> bool {
    distance(shape, position).to_bits() == 0.0_f64.to_bits()
}

/// A star around a middle: never crosses itself.
fn star(middle: Vertex, radii: &[i32]) -> Ring {
    let step = std::f64::consts::TAU / f64::from(u32::try_from(radii.len()).unwrap());
    let mut ring: Ring = (0..).zip(radii).map(|(n, radius)| spoke(middle, f64::from(n) * step, *radius)).collect();
    ring.push(ring[0]);
    ring
}

#[allow(clippy::cast_possible_truncation, reason = "radii are small")]
fn spoke(middle: Vertex, angle: f64, radius: i32) -> Vertex {
    let radius = f64::from(radius);
    [middle[0] + (libm::cos(angle) * radius) as i32, middle[1] + (libm::sin(angle) * radius) as i32]
}

fn geo_ring(ring: &Ring) -> LineString<f64> {
    ring.iter().map(|[lon, lat]| (f64::from(*lon), f64::from(*lat))).collect()
}

fn geo_polygon(rings: &[Ring]) -> Polygon<f64> {
    Polygon::new(geo_ring(&rings[0]), rings[1..].iter().map(geo_ring).collect())
}

prop_compose! {
    /// A star with a star-shaped hole, coordinates small enough that positions often hit corners and edges.
    fn polygon_with_hole()(
        outer in prop::collection::vec(40..90_i32, 3..12),
        inner in prop::collection::vec(5..19_i32, 3..9),
    ) -> Vec<Ring> {
        vec![star([0, 0], &outer), star([0, 0], &inner)]
    }
}

proptest! {
    #[test]
    fn sides_agree_with_geo(rings in polygon_with_hole(), lon in -95..95_i32, lat in -95..95_i32) {
        let polygon = geo_polygon(&rings);
        let point = Point::new(f64::from(lon), f64::from(lat));
        let side = side_of(rings.iter().map(Vec::as_slice), 1, [i64::from(lon), i64::from(lat)]);
        prop_assert_eq!(side == Side::Inside, polygon.contains(&point));
        prop_assert_eq!(side != Side::Outside, polygon.intersects(&point));
    }

    #[test]
    fn every_corner_and_the_middle_of_every_even_edge_is_on_the_boundary(rings in polygon_with_hole()) {
        let shape = Shape::Polygons { polygons: vec![rings.clone()] };
        for [from, to] in rings.iter().flat_map(|ring| ring.windows(2)).map(|pair| [pair[0], pair[1]]) {
            let sum = [from[0] + to[0], from[1] + to[1]];
            let middle = if sum[0] % 2 == 0 && sum[1] % 2 == 0 { sum.map(|sum| sum / 2) } else { from };
            prop_assert!(on_boundary(&shape, Position::from_e7(middle[1], middle[0]).unwrap()));
        }
    }

    #[test]
    fn distances_agree_with_haversine_within_a_thousandth(
        lat in -75.0..75.0_f64, lon in -179.9..179.9_f64, north in -0.4..0.4_f64, east in -0.4..0.4_f64,
    ) {
        let place = at(lon, lat);
        let middle = [unit((lon + east).clamp(-180.0, 180.0)), at(0.0, lat + north).lat_e7()];
        let shape = Shape::Circle { middle, radius_metres: 5.0 };
        let there = Position::from_e7(middle[1], middle[0]).unwrap();
        let [(lat, lon), (there_lat, there_lon)] = [place.reveal(), there.reveal()];
        let expected = Haversine.distance(Point::new(lon, lat), Point::new(there_lon, there_lat));
        let found = distance(&shape, place) + 5.0;
        prop_assert!((found - expected).abs() <= 0.02 + expected * 1e-3, "{} {}", found, expected);
    }

    #[test]
    fn distances_to_edges_agree_with_the_nearest_of_many_points(
        lat in -70.0..70.0_f64, radii in prop::collection::vec(20_000..90_000_i32, 3..10), east in -0.02..0.02_f64, north in -0.02..0.02_f64,
    ) {
        let middle = [0, at(0.0, lat).lat_e7()];
        let ring = star(middle, &radii);
        let place = at(east, lat + north);
        let (place_lat, place_lon) = place.reveal();
        let mut nearest = f64::INFINITY;
        for pair in ring.windows(2) {
            for step in 0..=200 {
                let part = f64::from(step) / 200.0;
                let [lon, lat] = [0, 1].map(|axis| (f64::from(pair[0][axis]) * (1.0 - part) + f64::from(pair[1][axis]) * part) / 1e7);
                nearest = nearest.min(Haversine.distance(Point::new(place_lon, place_lat), Point::new(lon, lat)));
            }
        }
        let found = distance(&Shape::Polygons { polygons: vec![vec![ring]] }, place).abs();
        // The samples lie up to 10 m apart, so theirs may be longer by what half of that adds.
        prop_assert!(found <= nearest * 1.001 + 0.05 && found >= nearest * 0.999 - 5.5, "{} {}", found, nearest);
    }

    #[test]
    fn the_box_never_says_no_wrongly(
        lat in -90.0..=90.0_f64, lon in -180.0..=180.0_f64, middle_lat in -90.0..=90.0_f64, middle_lon in -180.0..=180.0_f64,
        reach in 0.0..2e6_f64, radii in prop::collection::vec(1_000..9_000_000_i32, 3..8),
    ) {
        let middle = [unit(middle_lon), at(0.0, middle_lat).lat_e7()];
        let mut shapes = vec![
            Shape::Circle { middle, radius_metres: 40_000.0 },
            Shape::Corridor { paths: vec![vec![middle, [middle[0] / 2, middle[1] / 2]]], width_metres: 400.0 },
        ];
        if middle_lat.abs() < 88.0 && middle_lon.abs() < 178.0 {
            shapes.push(Shape::Polygons { polygons: vec![vec![star(middle, &radii)]] });
        }
        for shape in shapes {
            let outline = Outline::of(&shape);
            let found = outline.signed_distance_metres(&shape, at(lon, lat));
            prop_assert!(found.is_finite());
            prop_assert!(found > reach || outline.may_reach(&Reach::of(at(lon, lat), reach)), "{} {}", found, reach);
        }
    }
}

#[test]
fn a_polygon_cut_at_the_antimeridian_is_one_area() {
    let polygons = vec![vec![square(179.9, 10.0, 180.0, 10.2)], vec![square(-180.0, 10.0, -179.9, 10.2)]];
    let shape = Shape::Polygons { polygons };
    let depth = -0.1 * 1e7 * METRES_PER_UNIT;
    for lon in [180.0, -180.0, 179.999_999_9, -179.999_999_9] {
        let found = distance(&shape, at(lon, 10.1));
        assert!((found - depth * libm::cos(10.1_f64.to_radians())).abs() < 5.0, "at {lon}: {found}");
    }
    assert!(distance(&shape, at(179.8, 10.1)) > 10_000.0);
    assert!(distance(&shape, at(-179.8, 10.1)) > 10_000.0);
    assert!(on_boundary(&shape, at(180.0, 10.0)));
    assert!(distance(&shape, at(180.0, 9.9)) > 11_000.0);
    let outline = Outline::of(&shape);
    assert!(
        outline.may_reach(&Reach::of(at(-179.85, 10.1), 6_000.0)) && outline.may_reach(&Reach::of(at(179.85, 10.1), 6_000.0))
    );
    assert!(!outline.may_reach(&Reach::of(at(0.0, 10.1), 1_000_000.0)));
}

#[test]
fn what_has_no_neighbour_across_the_antimeridian_is_boundary_there() {
    let polygons = vec![vec![square(179.9, 10.0, 180.0, 10.3)], vec![square(-180.0, 10.1, -179.9, 10.2)]];
    let shape = Shape::Polygons { polygons };
    assert!(distance(&shape, at(180.0, 10.15)) < -5_000.0, "across the cut");
    assert!(on_boundary(&shape, at(-180.0, 10.05)), "beside it");
    assert!((distance(&shape, at(-179.99, 10.05)) - 1_094.0).abs() < 5.0);
}

#[test]
fn shapes_across_the_antimeridian_are_near_from_both_sides() {
    let circle = Shape::Circle { middle: [unit(179.999), 0], radius_metres: 500.0 };
    let corridor = Shape::Corridor { paths: vec![vec![[unit(179.5), 0], [unit(179.999), 0]]], width_metres: 1_000.0 };
    for shape in [circle, corridor] {
        assert!(distance(&shape, at(-179.999, 0.0)) < -250.0);
        assert!(Outline::of(&shape).may_reach(&Reach::of(at(-179.9, 0.0), 20_000.0)));
    }
}

#[test]
fn poles_give_numbers_and_the_right_side() {
    let cap = Shape::Circle { middle: [0, at(0.0, 89.99).lat_e7()], radius_metres: 5_000.0 };
    assert!(distance(&cap, at(0.0, 90.0)) < 0.0);
    assert!(distance(&cap, at(180.0, 89.99)) < 0.0, "2.2 km away over the pole, though half a turn in longitude");
    let south = Shape::Polygons { polygons: vec![vec![square(-60.0, -90.0, 60.0, -80.0)]] };
    assert!(on_boundary(&south, at(0.0, -90.0)));
    assert!(distance(&south, at(0.0, -85.0)) < 0.0);
    assert!(distance(&south, at(0.0, 90.0)) > 1_000_000.0);
}

#[test]
fn a_corridor_is_as_wide_as_it_says() {
    let corridor = Shape::Corridor { paths: vec![vec![[0, 0], [unit(0.1), 0]]], width_metres: 200.0 };
    assert!((distance(&corridor, at(0.05, 0.0)) + 100.0).abs() < 1e-6);
    assert!((distance(&corridor, at(0.05, 0.001)) - 11.195).abs() < 0.01);
    assert!((distance(&corridor, at(-0.001, 0.0)) - 11.195).abs() < 0.01, "its end is round");
}

#[test]
fn the_far_corners_of_the_earth_do_not_overflow() {
    let world = Shape::Polygons { polygons: vec![vec![square(-90.0, -90.0, 90.0, 90.0)]] };
    for (lon, lat) in [(180.0, 90.0), (-180.0, -90.0), (0.0, 0.0), (90.0, 90.0)] {
        assert!(distance(&world, at(lon, lat)).is_finite());
    }
    assert!(distance(&world, at(0.0, 0.0)) < 0.0);
    assert!(distance(&world, at(135.0, 0.0)) > 0.0);
}

#[test]
fn what_cannot_be_computed_with_is_refused() {
    for shape in [
        Shape::Polygons { polygons: vec![] },
        Shape::Polygons { polygons: vec![vec![]] },
        Shape::Polygons { polygons: vec![vec![vec![[0, 0], [1, 0], [1, 1], [0, 1]]]] },
        Shape::Polygons { polygons: vec![vec![vec![[0, 0], [1, 1], [0, 0]]]] },
        Shape::Polygons { polygons: vec![vec![square(0.0, 0.0, 1.0, 1.0), vec![]]] },
        Shape::Circle { middle: [0, 900_000_001], radius_metres: 10.0 },
        Shape::Circle { middle: [0, 0], radius_metres: f64::NAN },
        Shape::Circle { middle: [0, 0], radius_metres: 1e9 },
        Shape::Corridor { paths: vec![vec![[0, 0]]], width_metres: 100.0 },
    ] {
        assert!(shape.usable().is_err());
    }
}
