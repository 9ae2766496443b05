//! That a fleet drives over real MQTT: reports and presses arrive whole, and receipts end the repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::watch;

use super::brokers::EmbeddedMqtt;
use crate::clock::wall_millis;
use crate::commands::simulate::{MqttAddress, drive};
use crate::device::mqtt_topic::receipt_topic;
use crate::simulator::{Act, Fleet, Limits, Plan};

/// Plays the centre's side: answers every press with its receipt, from the second copy on.
async fn answer_presses(port: u16, latencies: watch::Sender<Vec<i64>>) {
    let (client, mut events) = AsyncClient::new(MqttOptions::new("lane", "127.0.0.1", port), 64);
    client.try_subscribe("lw/v1/+/duress", QoS::AtLeastOnce).unwrap();
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    while let Ok(event) = events.poll().await {
        let Event::Incoming(Packet::Publish(publish)) = event else { continue };
        let press: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
        let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
        let device = topic.split('/').nth(2).unwrap();
        let copy = copies.entry(format!("{device} {}", press["id"])).or_default();
        *copy += 1;
        if *copy == 1 {
            latencies.send_modify(|all| all.push(wall_millis() - press["sent"].as_i64().unwrap()));
        } else {
            let receipt = serde_json::json!({"id": press["id"]}).to_string();
            client.try_publish(receipt_topic(device), QoS::AtLeastOnce, false, receipt).unwrap();
        }
    }
}

#[tokio::test]
async fn a_driven_fleet_is_heard_and_hears_its_receipts() {
    let port = EmbeddedMqtt::start().await.unwrap().port();
    let (latencies_in, latencies) = watch::channel(Vec::new());
    let centre = tokio::spawn(answer_presses(port, latencies_in));
    // A fleet that began a minute ago has its first episodes due at once.
    let plan = Plan { devices: 20, seed: 1, seconds: None, limits: Limits::DEMO };
    let fleet = Fleet::new(plan, wall_millis() - 60_000);
    let broker = MqttAddress { host: "127.0.0.1".to_owned(), port };
    let (receipted_in, mut receipted) = watch::channel(0);
    let all_receipted = async {
        let waited = tokio::time::timeout(Duration::from_secs(20), receipted.wait_for(|count| *count >= 4)).await;
        waited.expect("receipts arrive in time").unwrap();
    };
    let fleet =
        drive(fleet, &broker, all_receipted, |fleet| receipted_in.send_modify(|count| *count = fleet.presses_receipted())).await;
    centre.abort();
    assert!(latencies.borrow().iter().all(|millis| (0..5_000).contains(millis)), "{:?}", latencies.borrow());
    assert_eq!(fleet.messages_lost(), 0);
    for deed in fleet.deeds() {
        if let Act::Pressed { copies, receipted_at: Some(_), .. } = deed.act {
            assert!((2..=3).contains(&copies), "repeated until the receipt, and not after: {deed:?}");
        }
    }
}
