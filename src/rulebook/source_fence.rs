//! Fences as GeoJSON (RFC 7946). Each feature is read by itself, so that one broken feature hides no other; counting is from 1.

use std::sync::Arc;

use geojson::{Feature, GeometryValue};
use serde_json::{Map, Value};

use super::content::{Content, FenceContent, Key};
use super::fields::Fields;
use super::geometry::{HALF_TURN, Ring, Shape, Vertex};
use super::mistake::Mistakes;
use super::model::Meaning;
use super::source::Reading;
use super::source_rules::{SEVERITIES, STAGES};
use super::validity::{RingAt, RingFault, faults};
use crate::alert::{Severity, Stage};
use crate::ids::{FenceName, GroupName, TenantName};
use crate::limits;
use crate::position::Position;
use crate::time::SECOND_MILLIS;

const MEANINGS: [(&str, Meaning); 4] =
    [("keep_in", Meaning::KeepIn), ("keep_out", Meaning::KeepOut), ("safe_zone", Meaning::SafeZone), ("notify", Meaning::Notify)];
const BUFFER_METRES_DEFAULT: f64 = 15.0;
const DWELL_MILLIS_DEFAULT: i64 = 30 * SECOND_MILLIS;
const SPLIT: &str =
    "cut it at the antimeridian into a MultiPolygon whose parts end at longitude 180 and -180 (RFC 7946, section 3.1.9)";

/// Reads a file of fences: a feature collection or one feature.
pub(super) fn read_fences(file: &str, text: &str, reading: &mut Reading<'_>) {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(fault) => {
            let place = format!("line {}", fault.line());
            return reading.mistakes.note(file, &place, format!("is not JSON: {fault}"), "mend this line");
        }
    };
    match (value.get("type").and_then(Value::as_str), value.get("features").and_then(Value::as_array)) {
        (Some("FeatureCollection"), Some(features)) => {
            for (at, feature) in features.iter().enumerate() {
                read_feature(file, at + 1, feature, reading);
            }
        }
        (Some("Feature"), _) => read_feature(file, 1, &value, reading),
        _ => {
            let mend = "write {\"type\": \"FeatureCollection\", \"features\": [...]}, or a Feature";
            reading.mistakes.note(file, "", "is no FeatureCollection and no Feature", mend);
        }
    }
}

fn read_feature(file: &str, number: usize, value: &Value, reading: &mut Reading<'_>) {
    let mistakes = reading.mistakes;
    let place = match value.get("properties").and_then(|properties| properties.get("id")).and_then(Value::as_str) {
        Some(id) => format!("feature {number} ({})", id.chars().take(limits::NAME_BYTES_MAX).collect::<String>()),
        None => format!("feature {number}"),
    };
    let feature = match serde_json::from_value::<Feature>(value.clone()) {
        Ok(feature) => feature,
        Err(fault) => {
            let mend = "write a GeoJSON Feature: coordinates are [longitude, latitude] in degrees";
            return mistakes.note(file, &place, format!("is no GeoJSON: {}", short(&fault.to_string())), mend);
        }
    };
    let Some(mut properties) = feature.properties else {
        return mistakes.note(file, &place, "has no properties", "give it at least id, tenant and meaning");
    };
    properties.retain(|_, value| !value.is_null());
    let draw = Draw { file, place: &place, mistakes };
    let Some(geometry) = &feature.geometry else {
        return draw.note("", "has no geometry", "draw a Polygon, MultiPolygon, Point or LineString");
    };
    let read = read_properties(&draw, &properties, &geometry.value);
    let Some((tenant, name, content)) = read else { return };
    let content = content.map(|content| Content::Fence(Arc::new(content)));
    if let Some(content) = &content {
        draw.check_size(content);
    }
    reading.keep(Key::Fence(tenant, name), content, file, place);
}

type Named = (TenantName, FenceName, Option<FenceContent>);

fn read_properties(draw: &Draw<'_>, properties: &Map<String, Value>, geometry: &GeometryValue) -> Option<Named> {
    let fields = Fields::new(draw.file, draw.place.to_owned(), properties, draw.mistakes);
    let name = fields.name("id", FenceName::parse);
    let tenant = fields.name("tenant", TenantName::parse);
    let meaning = fields.one_of("meaning", &MEANINGS);
    for (key, mend) in [
        ("id", "give the fence a name, unique in its tenant"),
        ("tenant", "name the tenant that it belongs to"),
        ("meaning", "say keep_in, keep_out, safe_zone or notify"),
    ] {
        if fields.value(key).is_none() {
            fields.missing(key, mend);
        }
    }
    let severity_default = if meaning == Some(Meaning::Notify) { Severity::Warning } else { Severity::Major };
    let mut groups = fields.names("groups", GroupName::parse).unwrap_or_default();
    groups.sort();
    groups.dedup();
    let severity = fields.one_of("severity", &SEVERITIES).unwrap_or(severity_default);
    let stage = fields.one_of("stage", &STAGES).unwrap_or(Stage::Live);
    let buffer_metres = fields.number("buffer_metres", 0.0..=limits::FENCE_BUFFER_METRES_MAX).unwrap_or(BUFFER_METRES_DEFAULT);
    let dwell_millis = fields.duration("dwell", 0..=limits::FENCE_DWELL_MILLIS_MAX).unwrap_or(DWELL_MILLIS_DEFAULT);
    fields.not_yet(&["schedule", "segment_test"]);
    let shape = draw.shape(geometry, &fields);
    fields.done();
    let content = match (meaning, shape) {
        (Some(meaning), Some(shape)) => {
            let buffer_metres = centimetres(buffer_metres);
            Some(FenceContent { meaning, groups, severity, stage, buffer_metres, dwell_millis, schedule: None, shape })
        }
        (None, _) | (_, None) => None,
    };
    Some((tenant?, name?, content))
}

/// Reads the geometry of one feature.
struct Draw<'a> {
    file: &'a str,
    place: &'a str,
    mistakes: &'a Mistakes,
}

impl Draw<'_> {
    fn note(&self, part: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        let place = if part.is_empty() { self.place.to_owned() } else { format!("{}, {part}", self.place) };
        self.mistakes.note(self.file, &place, wrong, mend);
    }

    fn shape(&self, geometry: &GeometryValue, fields: &Fields<'_>) -> Option<Shape> {
        match geometry {
            GeometryValue::Polygon { coordinates } => self.polygons(std::slice::from_ref(coordinates)),
            GeometryValue::MultiPolygon { coordinates } => self.polygons(coordinates),
            GeometryValue::Point { coordinates } => {
                let middle = vertex_of(coordinates).map_err(|(wrong, mend)| self.note("point", wrong, mend)).ok();
                let radius = fields.number("radius_metres", limits::FENCE_RADIUS_METRES_MIN..=limits::FENCE_RADIUS_METRES_MAX);
                if fields.value("radius_metres").is_none() {
                    fields.missing("radius_metres", "a Point is a circle: give its radius, or draw a Polygon");
                }
                Some(Shape::Circle { middle: middle?, radius_metres: centimetres(radius?) })
            }
            GeometryValue::LineString { coordinates } => self.corridor(std::slice::from_ref(coordinates), fields),
            GeometryValue::MultiLineString { coordinates } => self.corridor(coordinates, fields),
            GeometryValue::MultiPoint { .. } | GeometryValue::GeometryCollection { .. } => {
                let mend = "draw a Polygon, MultiPolygon, Point with radius_metres or LineString with width_metres";
                self.note("", format!("a {} is no fence", geometry.type_name()), mend);
                None
            }
        }
    }

    fn corridor(&self, lines: &[Vec<geojson::Position>], fields: &Fields<'_>) -> Option<Shape> {
        let width = fields.number("width_metres", 2.0 * limits::FENCE_RADIUS_METRES_MIN..=2.0 * limits::FENCE_RADIUS_METRES_MAX);
        if fields.value("width_metres").is_none() {
            fields.missing("width_metres", "a LineString is a corridor: give its whole width");
        }
        self.count(lines.iter().map(Vec::len).sum())?;
        let mut paths = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let part = if lines.len() == 1 { "line".to_owned() } else { format!("line {}", at + 1) };
            let path = self.vertices(&part, line)?;
            if path.len() < 2 {
                self.note(&part, "has under 2 points", "draw at least one stretch");
                return None;
            }
            if let Some(at) = path.windows(2).position(|pair| spans_over_half(pair.iter())) {
                let mend = "cut it at the antimeridian into a MultiLineString (RFC 7946, section 3.1.9)";
                self.note(&format!("{part}, coordinate {}", at + 1), "the next coordinate is over 180 degrees away", mend);
                return None;
            }
            paths.push(path);
        }
        if paths.is_empty() {
            self.note("", "has no lines", "draw at least one");
            return None;
        }
        Some(Shape::Corridor { paths, width_metres: centimetres(width?) })
    }

    /// Polygons whose rings are closed and cross nothing. Every ring is looked at before any verdict on how they lie.
    fn polygons(&self, written: &[Vec<Vec<geojson::Position>>]) -> Option<Shape> {
        self.count(written.iter().flatten().map(Vec::len).sum())?;
        let mut sound = true;
        let mut polygons = Vec::new();
        let mut numbers = Vec::new();
        for (at, rings) in written.iter().enumerate() {
            if rings.is_empty() {
                self.note(&polygon_place(written.len(), at), "has no ring", "draw its outer ring");
                sound = false;
            }
            let read: Vec<_> =
                rings.iter().enumerate().map(|(ring, line)| self.ring(&ring_place(written.len(), (at, ring)), line)).collect();
            sound &= read.iter().all(Option::is_some);
            let (rings, ring_numbers): (Vec<Ring>, Vec<Vec<usize>>) = read.into_iter().flatten().unzip();
            polygons.push(rings);
            numbers.push(ring_numbers);
        }
        if polygons.is_empty() {
            self.note("", "has no polygon", "draw at least one");
            return None;
        }
        if !sound {
            return None;
        }
        let faults = faults(&polygons);
        for fault in &faults {
            self.ring_fault(fault, &numbers);
        }
        faults.is_empty().then_some(Shape::Polygons { polygons })
    }

    /// A closed ring without repeated vertices, and the number under which each stands in the file.
    fn ring(&self, place: &str, line: &[geojson::Position]) -> Option<(Ring, Vec<usize>)> {
        let vertices = self.vertices(place, line)?;
        let mut ring = Ring::new();
        let mut numbers = Vec::new();
        for (at, vertex) in vertices.iter().enumerate() {
            if ring.last() == Some(vertex) {
                // Of coordinates in one place, the last is where the next edge starts.
                numbers.pop();
            } else {
                ring.push(*vertex);
            }
            numbers.push(at + 1);
        }
        if vertices.first() != vertices.last() {
            let mend = "end the ring with its first coordinate";
            self.note(&format!("{place}, coordinate {}", vertices.len()), "the ring is not closed", mend);
            return None;
        }
        if ring.len() < 4 {
            self.note(place, "has under 3 different corners", "draw at least a triangle; corners within 11 mm are one");
            return None;
        }
        if spans_over_half(ring.iter()) {
            self.note(place, "spans over 180 degrees of longitude", SPLIT);
            return None;
        }
        Some((ring, numbers))
    }

    /// The first coordinate that is wrong stands for the others of its line: they are mostly wrong in the same way.
    fn vertices(&self, place: &str, line: &[geojson::Position]) -> Option<Vec<Vertex>> {
        let read: Vec<_> = line.iter().map(vertex_of).collect();
        let wrong = read.iter().filter(|vertex| vertex.is_err()).count();
        for (at, vertex) in read.iter().enumerate() {
            if let Err((what, mend)) = vertex {
                let more = if wrong > 1 { format!(" ({} more of this line are wrong)", wrong - 1) } else { String::new() };
                self.note(&format!("{place}, coordinate {}", at + 1), format!("{what}{more}"), mend);
                return None;
            }
        }
        Some(read.into_iter().flatten().collect())
    }

    fn count(&self, vertices: usize) -> Option<()> {
        if vertices > limits::FENCE_VERTICES_MAX {
            let wrong = format!("has {vertices} coordinates, the limit is {}", limits::FENCE_VERTICES_MAX);
            self.note("", wrong, "simplify it; a metre's tolerance removes most of a surveyed boundary");
            return None;
        }
        Some(())
    }

    fn check_size(&self, content: &Content) {
        let bytes = content.to_value().to_string().len();
        // A kilobyte is left for author and reason.
        if bytes > limits::RULEBOOK_ENTRY_BYTES_MAX - 1_024 {
            let wrong = format!("takes {bytes} bytes as an entry, the limit is {}", limits::RULEBOOK_ENTRY_BYTES_MAX);
            self.note("", wrong, "simplify it; a metre's tolerance removes most of a surveyed boundary");
        }
    }

    fn ring_fault(&self, fault: &RingFault, numbers: &[Vec<Vec<usize>>]) {
        let parts = numbers.len();
        let place = |ring: RingAt| ring_place(parts, ring);
        let number = |ring: RingAt, edge: usize| numbers[ring.0][ring.1][edge];
        match *fault {
            RingFault::MeetsItself(ring, from, to) => {
                let wrong = format!("the edges from coordinates {} and {} meet", number(ring, from), number(ring, to));
                self.note(&place(ring), wrong, "a ring must not cross or touch itself: move or remove one of them");
            }
            RingFault::Meet(ring, from, other, to) => {
                let (from, to) = (number(ring, from), number(other, to));
                let wrong =
                    format!("the edge from coordinate {from} crosses or runs along {}, edge from coordinate {to}", place(other));
                self.note(&place(ring), wrong, "rings may share single points only: move one, or join the two");
            }
            RingFault::HoleOutside(hole) => {
                self.note(
                    &place(hole),
                    "this hole is not inside its polygon",
                    "the first ring is the outer one, the others lie within it",
                );
            }
            RingFault::Overlap(one, other) => {
                self.note(&place(one), format!("overlaps {}", place(other)), "join the two into one");
            }
        }
    }
}

/// A coordinate, or what is wrong with it and the mend.
fn vertex_of(position: &geojson::Position) -> Result<Vertex, (String, String)> {
    let &[lon, lat, ..] = position.as_slice() else {
        return Err(("has under 2 numbers".to_owned(), "write [longitude, latitude]".to_owned()));
    };
    if let Some(position) = Position::from_degrees(lat, lon) {
        return Ok([position.lon_e7(), position.lat_e7()]);
    }
    let mend = if lon.abs() > 180.0 && lon.abs() <= 360.0 && lat.abs() <= 90.0 {
        format!("keep longitudes within 180 degrees; if the shape crosses there, {SPLIT}")
    } else if lon.abs() <= 90.0 && lat.abs() <= 180.0 {
        "GeoJSON writes [longitude, latitude]: are the two swapped?".to_owned()
    } else {
        "write [longitude, latitude] in degrees of WGS 84".to_owned()
    };
    Err((format!("[{lon}, {lat}] is not on Earth"), mend))
}

fn polygon_place(parts: usize, polygon: usize) -> String {
    if parts == 1 { "polygon".to_owned() } else { format!("polygon {}", polygon + 1) }
}

fn ring_place(parts: usize, (polygon, ring): RingAt) -> String {
    if parts == 1 { format!("ring {}", ring + 1) } else { format!("polygon {}, ring {}", polygon + 1, ring + 1) }
}

fn spans_over_half<'a>(vertices: impl Iterator<Item = &'a Vertex> + Clone) -> bool {
    let lons = vertices.map(|vertex| i64::from(vertex[0]));
    match (lons.clone().min(), lons.max()) {
        (Some(west), Some(east)) => east - west > i64::from(HALF_TURN),
        (None, _) | (_, None) => false,
    }
}

/// Metres to the centimetre: short decimals survive JSON to the bit, so that an entry read back equals the one that was written.
fn centimetres(metres: f64) -> f64 {
    (metres * 100.0).round() / 100.0
}

fn short(text: &str) -> String {
    text.chars().take(160).collect()
}
