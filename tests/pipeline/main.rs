//! The whole way of the data through real brokers: Kafka and Mosquitto, started here on free loopback ports.
//!
//! One binary for all scenarios, so that librdkafka is linked once and one Kafka serves all; `rig` holds the machinery.

mod a_centre_that_refuses;
mod alerts_topic_made_anew;
mod applies_that_overlap;
mod check;
mod check_device;
mod constant_payload;
#[cfg(feature = "demo")]
mod demonstration;
mod detector_killed;
mod faults;
mod filters_change;
mod first_hour;
mod follow_says_what_it_cannot_read;
mod foreign_record;
mod kafka_away;
mod logs_tell_no_positions;
mod memory_is_bounded;
mod mirrored_ingesters;
mod mosquitto_away;
mod owntracks_leaves_a_fence;
mod owntracks_whole;
mod poison;
mod press_past_a_backlog;
mod probes_refused;
mod refused_for_good;
mod reports_at_qos_0;
mod reports_give_way;
mod rig;
mod rig_itself;
mod rulebook_topic_made_anew;
mod same_journal_twice;
mod several_feeds;
mod shutdown_in_order;
mod shutdown_without_kafka;
mod start_refusals;
mod the_same_press_again;
mod traccar_gateway;
mod two_fences_at_once;
