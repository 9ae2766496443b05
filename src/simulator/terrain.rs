//! Where the simulated devices live: four areas, each the keep-in fence of one group, with room to wander and a gate to leave by.
//!
//! Places are metres east and north of an area's centre; at these sizes (under 1 km) a degree has one length, and what that
//! neglects (under 5 m) is far less than the clearance that scripts keep from every boundary.

/// A degree of latitude, in metres, of a sphere with the Earth's mean radius.
const DEGREE_METRES: f64 = 111_194.93;

/// A place in metres east and north of an area's centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spot {
    pub(super) east: f64,
    pub(super) north: f64,
}

/// The outline of an area.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A circle around the centre.
    Circle { radius_metres: f64 },
    /// Corners, anticlockwise, not closed.
    Polygon(&'static [(f64, f64)]),
}

/// A group's area.
#[derive(Debug)]
pub(super) struct Area {
    pub(super) tenant: &'static str,
    pub(super) group: &'static str,
    pub(super) fence: &'static str,
    lat: f64,
    lon: f64,
    pub(super) shape: Shape,
    /// A point of a boundary that is straight (or nearly) for 100 m on both sides.
    gate: Spot,
    /// Unit vector out of the area at the gate.
    out: Spot,
}

/// Devices wander within this of the centre: at least 150 m from every boundary.
pub(super) const ROAM_METRES: f64 = 250.0;

/// The fleet's areas; device `i` lives in area `i` modulo their number.
pub(super) const AREAS: [Area; 4] = [
    Area {
        tenant: "northside",
        group: "home-visits",
        fence: "home-visits-area",
        lat: 53.8,
        lon: -1.55,
        shape: Shape::Circle { radius_metres: 500.0 },
        gate: Spot { east: 500.0, north: 0.0 },
        out: Spot { east: 1.0, north: 0.0 },
    },
    Area {
        tenant: "harbour",
        group: "patrol",
        fence: "patrol-area",
        lat: 51.45,
        lon: -2.59,
        shape: Shape::Polygon(&[(-500.0, -500.0), (500.0, -500.0), (500.0, 450.0), (0.0, 600.0), (-500.0, 450.0)]),
        gate: Spot { east: 0.0, north: -500.0 },
        out: Spot { east: 0.0, north: -1.0 },
    },
    Area {
        tenant: "northside",
        group: "court",
        fence: "court-area",
        lat: 53.75,
        lon: -1.62,
        shape: Shape::Polygon(&[(-450.0, -450.0), (450.0, -450.0), (450.0, 450.0), (-450.0, 450.0)]),
        gate: Spot { east: -450.0, north: 0.0 },
        out: Spot { east: -1.0, north: 0.0 },
    },
    Area {
        tenant: "harbour",
        group: "night",
        fence: "night-area",
        lat: 51.4,
        lon: -2.5,
        shape: Shape::Circle { radius_metres: 600.0 },
        gate: Spot { east: 0.0, north: 600.0 },
        out: Spot { east: 0.0, north: 1.0 },
    },
];

impl Area {
    /// The area of the device with this number.
    pub(super) fn of_device(index: usize) -> &'static Self {
        &AREAS[index % AREAS.len()]
    }

    /// The place `beyond_metres` outside of the gate (negative: inside), `aside_metres` along the boundary.
    pub(super) fn at_gate(&self, beyond_metres: f64, aside_metres: f64) -> Spot {
        Spot {
            east: self.gate.east + self.out.east * beyond_metres - self.out.north * aside_metres,
            north: self.gate.north + self.out.north * beyond_metres + self.out.east * aside_metres,
        }
    }

    /// Latitude and longitude in degrees, rounded to what positions hold (1e-7 degree).
    pub(super) fn degrees(&self, spot: Spot) -> (f64, f64) {
        let lat = self.lat + spot.north / DEGREE_METRES;
        let lon = self.lon + spot.east / (DEGREE_METRES * libm::cos(self.lat.to_radians()));
        ((lat * 1e7).round() / 1e7, (lon * 1e7).round() / 1e7)
    }
}

#[cfg(test)]
impl Area {
    /// Metres from the boundary to a place in degrees, negative inside.
    pub(super) fn beyond_boundary(&self, lat: f64, lon: f64) -> f64 {
        let north = (lat - self.lat) * DEGREE_METRES;
        let east = (lon - self.lon) * DEGREE_METRES * libm::cos(self.lat.to_radians());
        distance(self.shape, Spot { east, north })
    }
}

/// Metres from the boundary, negative inside; by brute force over the outline.
#[cfg(test)]
fn distance(shape: Shape, spot: Spot) -> f64 {
    match shape {
        Shape::Circle { radius_metres } => (spot.east * spot.east + spot.north * spot.north).sqrt() - radius_metres,
        Shape::Polygon(corners) => {
            // All outlines are convex and anticlockwise: the farthest outside of any edge's line decides.
            let edges = corners.iter().zip(corners.iter().cycle().skip(1));
            let beyond = edges.map(|((x, y), (u, v))| {
                let (dx, dy) = (u - x, v - y);
                ((spot.east - x) * dy - (spot.north - y) * dx) / (dx * dx + dy * dy).sqrt()
            });
            beyond.fold(f64::NEG_INFINITY, f64::max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_lie_on_the_boundary_and_lead_out() {
        for area in &AREAS {
            for aside in [-50.0, 0.0, 50.0] {
                for beyond in [-60.0, 0.0, 100.0] {
                    let found = distance(area.shape, area.at_gate(beyond, aside));
                    assert!((found - beyond).abs() < 4.0, "{} {beyond} {aside}: {found}", area.fence);
                }
            }
        }
    }

    #[test]
    fn there_is_room_to_wander() {
        for area in &AREAS {
            for (east, north) in [(1.0, 0.0), (0.6, 0.8), (-0.6, 0.8), (0.0, 1.0), (0.0, -1.0), (-1.0, 0.0)] {
                let edge = Spot { east: east * ROAM_METRES, north: north * ROAM_METRES };
                assert!(distance(area.shape, edge) <= -150.0, "{}", area.fence);
            }
        }
    }
}
