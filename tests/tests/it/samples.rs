//! infra/events: what `sam local invoke` and `make invoke` hand to the functions is what the functions read.

use serde_json::Value;
use std::path::{Path, PathBuf};
use vesper_adapters::personal::DataKey;
use vesper_adapters::settings::{Need, Settings};
use vesper_adapters::stripe::wire::{Projection, project};
use vesper_functions::task::{Queue, Task};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/events")
}

fn sample(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

fn messages(name: &str) -> Vec<Value> {
    let of = |record: &Value| serde_json::from_str(record["body"].as_str().unwrap()).unwrap();
    sample(name)["Records"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn the_sample_for_reconcile_is_what_intake_makes_of_its_sample() {
    let settings = std::fs::read_to_string(folder().join("practice.toml")).unwrap();
    let settings = Settings::parse(&settings, "practice.toml", Need::Serve).unwrap();
    let projection = Projection { keys: settings.stripe.metadata, hasher: DataKey::new([7; 32]).email_hasher() };
    let incoming = project(sample("intake.json")["body"].as_str().unwrap().as_bytes(), &projection).unwrap();
    assert_eq!(incoming.livemode, settings.stripe.livemode);
    let made = serde_json::to_value(Task::EventV1 { event: incoming.event }).unwrap();
    assert_eq!(messages("reconcile.json")[0], made, "infra/events/reconcile.json, first message: {made}");
}

#[test]
fn every_sample_message_is_a_task_of_its_functions_queue() {
    let queues = [
        ("reconcile.json", Queue::Events),
        ("write-back.json", Queue::WriteBack),
        ("push-books.json", Queue::Books),
        ("payouts.json", Queue::Payouts),
    ];
    for (name, queue) in queues {
        let messages = messages(name);
        assert!(!messages.is_empty(), "{name}");
        for message in messages {
            let task: Task = serde_json::from_value(message).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(task.queue(), queue, "{name}");
        }
    }
}
