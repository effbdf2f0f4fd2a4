//! Tides: when the water is high.

/// The height of the water, in feet, so many hours after noon.
pub fn height(hours: f64) -> f64 {
    let turn = 12.42;
    9.0 + 7.0 * (hours / turn * std::f64::consts::TAU).cos()
}

/// A harbour and the depth of its bar.
pub struct Harbour {
    pub bar: f64,
}

impl Harbour {
    /// Whether a ship of this draught can come in.
    pub fn admits(&self, draught: f64, hours: f64) -> bool {
        height(hours) - self.bar > draught
    }
}
