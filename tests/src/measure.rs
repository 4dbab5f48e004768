//! What the benches share: medians, and how a figure is printed.

/// The middle value of what was measured.
///
/// # Panics
/// When nothing was measured.
#[must_use]
pub fn median(measured: &mut [u128]) -> u128 {
    measured.sort_unstable();
    measured[measured.len() / 2]
}

/// Prints one figure.
#[expect(clippy::print_stdout, reason = "a bench tells people")]
pub fn report(what: &str, value: u128, unit: &str) {
    println!("{what}: {value} {unit}");
}

/// The largest resident size of this process so far, in kB; 0 where the system does not tell.
#[must_use]
pub fn peak_rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}
