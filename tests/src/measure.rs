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

/// Prints how many times larger a figure is than another, to the hundredth.
#[expect(clippy::print_stdout, reason = "a bench tells people")]
pub fn report_ratio(what: &str, value: u128, to: u128) {
    let hundredths = value * 100 / to.max(1);
    println!("{what}: {}.{:02}", hundredths / 100, hundredths % 100);
}

/// The largest resident size of this process so far, in kB; 0 where the system does not tell.
#[must_use]
pub fn peak_rss_kb() -> u64 {
    peak_rss_of(std::path::Path::new("/proc/self"))
}

fn peak_rss_of(process: &std::path::Path) -> u64 {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

/// What a process has used since it was forked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// On a CPU, in nanoseconds, in user space and in the kernel.
    pub cpu_ns: u64,
    /// The largest resident size, in kB.
    pub peak_rss_kb: u64,
}

/// What a process used, at a moment at which none of its threads is running: only then the kernel's count is exact.
///
/// `/proc/<pid>/stat` counts in ticks of 10 ms, too coarse for a function that starts in two; `schedstat` of each thread counts in
/// nanoseconds. A thread that has ended is missing; the functions of this project have one.
/// All zero where the system does not tell.
#[must_use]
pub fn usage_at_rest(pid: u32) -> Usage {
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    let mut before = threads(&process);
    loop {
        std::thread::yield_now();
        let now = threads(&process);
        if now == before && now.iter().all(|(_, running)| !running) {
            return Usage { cpu_ns: now.iter().map(|(cpu_ns, _)| cpu_ns).sum(), peak_rss_kb: peak_rss_of(&process) };
        }
        before = now;
    }
}

/// Of each thread: its time on a CPU in nanoseconds, and whether it wants one now.
fn threads(process: &std::path::Path) -> Vec<(u64, bool)> {
    let Ok(tasks) = std::fs::read_dir(process.join("task")) else { return Vec::new() };
    let of = |task: std::path::PathBuf| {
        let stat = std::fs::read_to_string(task.join("stat")).ok()?;
        // The state stands behind the name, which stands in parentheses.
        let running = stat.rsplit(')').next()?.trim_start().starts_with('R');
        let schedstat = std::fs::read_to_string(task.join("schedstat")).ok()?;
        Some((schedstat.split_whitespace().next()?.parse().ok()?, running))
    };
    tasks.flatten().filter_map(|task| of(task.path())).collect()
}
