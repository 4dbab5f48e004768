//! What carries the product's calls to the stand-ins: counts them, breaks the one it is told to, and falls silent when the
//! process is dead.
//!
//! Must not: look into a request or an answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use vesper_adapters::dynamo::faults::{Fault, Faults, Target, When};
use vesper_adapters::http::{BoxFuture, HttpRequest, HttpResponse, Transport, TransportError};
use vesper_standins::Standins;

/// What happens to one call to an outside system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// There was no connection.
    NotSent,
    /// It got lost on its way, and nobody knows.
    Lost,
    /// It was done; the answer got lost.
    LostAfter,
    /// The process died before it.
    DiesBefore,
    /// It was done; the process died before the answer came.
    DiesAfter,
}

impl Blow {
    /// Every one.
    pub const ALL: [Blow; 5] = [Blow::NotSent, Blow::Lost, Blow::LostAfter, Blow::DiesBefore, Blow::DiesAfter];
}

/// See the module.
pub struct Wire {
    standins: Standins,
    faults: Faults,
    count: AtomicU64,
    plan: Mutex<Option<(u64, Blow)>>,
    /// The process is dead from this call to the table on.
    dies_at_store_call: AtomicU64,
    dead: AtomicBool,
}

impl Wire {
    /// To these stand-ins, of the process whose table is reached through `faults`.
    #[must_use]
    pub fn new(standins: &Standins, faults: &Faults) -> Arc<Wire> {
        Arc::new(Wire {
            standins: standins.clone(),
            faults: faults.clone(),
            count: AtomicU64::new(0),
            plan: Mutex::new(None),
            dies_at_store_call: AtomicU64::new(u64::MAX),
            dead: AtomicBool::new(false),
        })
    }

    /// Starts counting from here, the calls to the table too.
    pub fn start_counting(&self) {
        self.faults.clear();
        self.count.store(0, Ordering::SeqCst);
    }

    /// Nothing is planned any more: every call is answered, unless the process is dead.
    pub fn calm(&self) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.dies_at_store_call.store(u64::MAX, Ordering::SeqCst);
        self.start_counting();
    }

    /// How many calls there were since.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// This happens to the `n`-th call since, counted from 1.
    pub fn strike(&self, n: u64, blow: Blow) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some((n, blow));
    }

    /// The process dies at the `n`-th call to the table: that one and everything after it fails.
    pub fn die_at_store_call(&self, n: u64) {
        self.faults.script(Target::Any, When::From(n), Fault::NoConnection);
        self.dies_at_store_call.store(n, Ordering::SeqCst);
    }

    /// The process is dead.
    pub fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst) || self.faults.calls(&Target::Any) >= self.dies_at_store_call.load(Ordering::SeqCst)
    }

    fn kill(&self) {
        self.die();
        self.faults.script(Target::Any, When::From(1), Fault::NoConnection);
    }

    fn planned(&self, n: u64) -> Option<Blow> {
        let plan = *self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.filter(|(at, _)| *at == n).map(|(_, blow)| blow)
    }
}

impl Transport for Wire {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            if self.is_dead() {
                return Err(TransportError::NotSent);
            }
            let n = self.count.fetch_add(1, Ordering::SeqCst).saturating_add(1);
            match self.planned(n) {
                None => self.standins.send(request).await,
                Some(Blow::NotSent) => Err(TransportError::NotSent),
                Some(Blow::Lost) => Err(TransportError::OutcomeUnknown),
                Some(Blow::LostAfter) => {
                    let _ = self.standins.send(request).await;
                    Err(TransportError::OutcomeUnknown)
                }
                Some(Blow::DiesBefore) => {
                    self.kill();
                    Err(TransportError::NotSent)
                }
                Some(Blow::DiesAfter) => {
                    let _ = self.standins.send(request).await;
                    self.kill();
                    Err(TransportError::OutcomeUnknown)
                }
            }
        })
    }
}
