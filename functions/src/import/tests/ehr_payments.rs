//! EHR payments that move: one record each, on the invoice that the EHR named last.

use super::*;

impl Practice {
    /// The EHR payments on an invoice as a decision about this client sees them: their ids.
    async fn on_invoice(&self, client: &str, invoice: &str) -> Vec<String> {
        let loaded = self.bench.app.store.load_clients([cl(client)]).await.unwrap();
        let file = loaded.world.invoice(&inv(invoice));
        file.map(|f| f.payments.keys().map(ToString::to_string).collect()).unwrap_or_default()
    }

    async fn version(&self, client: &str) -> u64 {
        self.bench.app.store.versions_of([cl(client)].into()).await.unwrap().versions[&cl(client)]
    }

    /// The same payment, told again on this invoice.
    fn moved(&self, payment: &EhrPayment, invoice: &str) -> EhrPayment {
        let seen = self.seen();
        EhrPayment { invoice: inv(invoice), first_observed_at: seen.observed_at, seen, ..payment.clone() }
    }
}

#[tokio::test]
async fn a_payment_that_moves_to_another_clients_invoice_leaves_the_old_one() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 4200, 4200, |_| {}).await;
    p.bill("c_2", "inv_2", 4200, 0, |_| {}).await;
    let there = p.in_ehr("epay_1", "inv_1", 4200, "");
    p.told(&there).await;
    assert_eq!(p.on_invoice("c_1", "inv_1").await, ["epay_1"]);
    let before = p.version("c_1").await;
    let moved = p.moved(&there, "inv_2");
    p.told(&moved).await;
    assert_eq!(p.on_invoice("c_1", "inv_1").await, Vec::<String>::new());
    assert_eq!(p.on_invoice("c_2", "inv_2").await, ["epay_1"]);
    assert!(p.version("c_1").await > before, "what the old client has paid is another thing now");
    let kept = p.bench.app.store.load_clients([cl("c_2")]).await.unwrap();
    let kept = &kept.world.invoice(&inv("inv_2")).unwrap().payments[&there.id];
    assert_eq!(kept.first_observed_at, there.first_observed_at);
    // The older word comes once more: nothing moves back.
    p.told(&there).await;
    assert_eq!((p.on_invoice("c_1", "inv_1").await.len(), p.on_invoice("c_2", "inv_2").await.len()), (0, 1));
}

#[tokio::test]
async fn a_payment_that_left_an_invoice_before_it_arrived_does_not_come_back_with_it() {
    let p = Practice::new().await;
    p.bill("c_2", "inv_2", 4200, 0, |_| {}).await;
    let early = p.in_ehr("epay_1", "inv_9", 4200, "");
    p.told(&early).await;
    p.told(&p.moved(&early, "inv_2")).await;
    p.bill("c_2", "inv_9", 900, 0, |_| {}).await;
    assert_eq!(p.on_invoice("c_2", "inv_9").await, Vec::<String>::new());
    assert_eq!(p.on_invoice("c_2", "inv_2").await, ["epay_1"]);
}

#[tokio::test]
async fn a_payment_that_moves_to_an_invoice_not_known_yet_waits_for_it() {
    let p = Practice::new().await;
    p.bill("c_1", "inv_1", 4200, 4200, |_| {}).await;
    let there = p.in_ehr("epay_1", "inv_1", 4200, "");
    p.told(&there).await;
    p.told(&p.moved(&there, "inv_9")).await;
    assert_eq!(p.on_invoice("c_1", "inv_1").await, Vec::<String>::new());
    p.bill("c_2", "inv_9", 4200, 4200, |_| {}).await;
    assert_eq!(p.on_invoice("c_2", "inv_9").await, ["epay_1"]);
    // The invoice changes hands, and its payments with it; then this one moves on.
    p.bill("c_1", "inv_9", 4200, 4200, |_| {}).await;
    p.told(&p.moved(&there, "inv_1")).await;
    assert_eq!((p.on_invoice("c_1", "inv_9").await, p.on_invoice("c_2", "inv_9").await), (vec![], vec![]));
    assert_eq!(p.on_invoice("c_1", "inv_1").await, ["epay_1"]);
}
