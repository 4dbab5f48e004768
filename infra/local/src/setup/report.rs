//! What setup says: one line for each thing that it looked at, and whether it changed it.
//!
//! Must not: hold a secret.

use std::fmt;

/// What became of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was right already.
    Unchanged,
    /// It was changed.
    Changed,
    /// A dry run: it would be changed.
    Would,
    /// A person has to do it.
    Todo,
    /// It cannot be done like this.
    Problem,
}

impl Done {
    const fn as_str(self) -> &'static str {
        match self {
            Done::Unchanged => "unchanged",
            Done::Changed => "changed",
            Done::Would => "would",
            Done::Todo => "to do",
            Done::Problem => "problem",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What became of it.
    pub done: Done,
    /// What it is about.
    pub area: &'static str,
    /// In plain words.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:<15} {}", self.done.as_str(), self.area, self.text)
    }
}

/// Tells each line as it comes, and keeps it.
pub struct Report<'t> {
    tell: &'t (dyn Fn(&Line) + Sync),
    dry_run: bool,
    /// All lines so far.
    pub lines: Vec<Line>,
}

impl<'t> Report<'t> {
    /// An empty report; `tell` gets each line at once.
    pub fn new(dry_run: bool, tell: &'t (dyn Fn(&Line) + Sync)) -> Report<'t> {
        Report { tell, dry_run, lines: Vec::new() }
    }

    fn add(&mut self, done: Done, area: &'static str, text: String) {
        let line = Line { done, area, text };
        (self.tell)(&line);
        self.lines.push(line);
    }

    /// It was right already.
    pub fn unchanged(&mut self, area: &'static str, text: impl Into<String>) {
        self.add(Done::Unchanged, area, text.into());
    }

    /// It is about to be changed: whether to do it. In a dry run it says so and nothing is done.
    #[must_use]
    pub fn may(&mut self, area: &'static str, text: &str) -> bool {
        if self.dry_run {
            self.add(Done::Would, area, text.to_owned());
        }
        !self.dry_run
    }

    /// It was changed.
    pub fn changed(&mut self, area: &'static str, text: impl Into<String>) {
        self.add(Done::Changed, area, text.into());
    }

    /// A person has to do it.
    pub fn todo(&mut self, area: &'static str, text: impl Into<String>) {
        self.add(Done::Todo, area, text.into());
    }

    /// It cannot be done like this.
    pub fn problem(&mut self, area: &'static str, text: impl Into<String>) {
        self.add(Done::Problem, area, text.into());
    }

    /// How many lines are of this kind.
    #[must_use]
    pub fn count(&self, done: Done) -> usize {
        self.lines.iter().filter(|line| line.done == done).count()
    }
}
