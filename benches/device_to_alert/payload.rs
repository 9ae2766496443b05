//! What the bench's devices say: native JSON of 200 bytes, no two alike.

/// The middle of the fence that everybody shall stay in.
pub(crate) const MIDDLE: (f64, f64) = (51.5, -0.12);
/// Half its side, in degrees.
pub(crate) const HALF: f64 = 0.01;
/// Two kilometres north of it.
pub(crate) const OUTSIDE_LAT: f64 = 51.53;
/// BENCHMARKS' size of a report.
pub(crate) const BYTES: usize = 200;

/// A report from inside the fence or from outside of it.
pub(crate) fn report(number: u64, outside: bool) -> Vec<u8> {
    let lat = if outside { OUTSIDE_LAT } else { MIDDLE.0 };
    // The last digits wander: nobody stands on one spot.
    let wander = number % 1_000;
    padded(&format!(
        "{{\"id\":\"r{number}\",\"battery\":77,\"interval\":10,\"motion\":\"moving\",\"fix\":{{\"lat\":{lat:.2}0{wander:03},\"lon\":{:.2}0{wander:03},\
         \"accuracy\":9,\"altitude\":31,\"speed\":1.2,\"course\":271}}",
        MIDDLE.1
    ))
}

/// A press that says where it is.
pub(crate) fn press(number: u64) -> Vec<u8> {
    padded(&format!("{{\"id\":\"p{number}\",\"battery\":77,\"fix\":{{\"lat\":51.5,\"lon\":-0.12,\"accuracy\":9}}"))
}

/// Filled up with a field that decoders pass over.
fn padded(open: &str) -> Vec<u8> {
    let mut payload = format!("{open},\"x\":\"").into_bytes();
    payload.resize(BYTES - 2, b'x');
    payload.extend_from_slice(b"\"}");
    payload
}
