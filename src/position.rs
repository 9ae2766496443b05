//! A place on Earth, in integers, that does not print itself.
//!
//! Coordinates are whole 1e-7 degrees of WGS 84 (11 mm at the equator), so that every machine computes the same. `Debug` shows a
//! placeholder: whoever wants coordinates in text calls [`Position::reveal`], and a reviewer can search for that.

use std::fmt;

/// Units in a degree.
pub const E7: f64 = 1e7;

/// Latitude and longitude in units of 1e-7 degree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    lat_e7: i32,
    lon_e7: i32,
}

impl Position {
    /// A place from units of 1e-7 degree; none outside of latitude ±90 or longitude ±180 degrees.
    pub const fn from_e7(lat_e7: i32, lon_e7: i32) -> Option<Self> {
        if lat_e7.unsigned_abs() <= 900_000_000 && lon_e7.unsigned_abs() <= 1_800_000_000 {
            Some(Self { lat_e7, lon_e7 })
        } else {
            None
        }
    }

    /// A place from degrees, rounded to the nearest unit; none for what is no number or out of range.
    pub fn from_degrees(lat: f64, lon: f64) -> Option<Self> {
        if !(lat.abs() <= 90.0 && lon.abs() <= 180.0) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, reason = "the range was checked one line above")]
        Self::from_e7((lat * E7).round() as i32, (lon * E7).round() as i32)
    }

    /// Latitude in units of 1e-7 degree.
    pub const fn lat_e7(self) -> i32 {
        self.lat_e7
    }

    /// Longitude in units of 1e-7 degree.
    pub const fn lon_e7(self) -> i32 {
        self.lon_e7
    }

    /// Latitude and longitude in degrees: for alerts, which exist to say where somebody is. Never for logs or metrics.
    pub fn reveal(self) -> (f64, f64) {
        (f64::from(self.lat_e7) / E7, f64::from(self.lon_e7) / E7)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Position(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_round_to_the_nearest_unit_and_back() {
        let place = Position::from_degrees(51.507_4, -0.127_8).unwrap();
        assert_eq!((place.lat_e7(), place.lon_e7()), (515_074_000, -1_278_000));
        assert_eq!(place.reveal(), (51.507_4, -0.127_8));
    }

    #[test]
    fn what_is_nowhere_is_refused() {
        for (lat, lon) in [(f64::NAN, 0.0), (0.0, f64::INFINITY), (90.1, 0.0), (0.0, -180.1)] {
            assert!(Position::from_degrees(lat, lon).is_none());
        }
        assert!(Position::from_degrees(-90.0, 180.0).is_some());
    }

    #[test]
    fn debug_output_is_redacted() {
        let shown = format!("{:?}", Position::from_degrees(51.5, -0.1));
        assert!(!shown.contains("51") && shown.contains("redacted"), "{shown}");
    }
}
