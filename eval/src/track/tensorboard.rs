//! TensorBoard event files: records of a length, a masked CRC, a protobuf message, another CRC.

use std::path::{Path, PathBuf};

use prost::Message;

use super::StepMetrics;
use crate::error::EvalError;
use crate::results::write_atomically;

/// `tensorflow.Event`, as far as scalars need it.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// TensorBoard finds files by this part of their name.
const NAME: &str = "events.out.tfevents.0000000000.codejury.v2";

/// Writes all steps into one event file in a folder, anew each time. Returns its path.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_events(steps: &[StepMetrics], folder: &Path) -> Result<PathBuf, EvalError> {
    std::fs::create_dir_all(folder).map_err(EvalError::write(folder))?;
    let path = folder.join(NAME);
    let mut records = Vec::new();
    let version = Event {
        file_version: Some("brain.Event:2".into()),
        ..Event::default()
    };
    record(&version, &mut records);
    for metrics in steps {
        let value = metrics.values.iter().map(|(tag, value)| SummaryValue {
            tag: tag.clone(),
            simple_value: Some(*value as f32),
        });
        let event = Event {
            // When it was evaluated is not known here; steps are what is plotted.
            wall_time: metrics.step as f64,
            step: metrics.step as i64,
            file_version: None,
            summary: Some(Summary {
                value: value.collect(),
            }),
        };
        record(&event, &mut records);
    }
    write_atomically(&path, |out| out.write_all(&records))?;
    Ok(path)
}

fn record(event: &Event, out: &mut Vec<u8>) {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(&data);
    out.extend(masked(&data).to_le_bytes());
}

/// The rotated CRC-32C that TFRecord files hold.
fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_is_byte_for_byte_what_tensorflow_writes() {
        let mut bytes = Vec::new();
        let version = Event {
            file_version: Some("brain.Event:2".into()),
            ..Event::default()
        };
        record(&version, &mut bytes);
        // Length 15, its CRC, tag 3 with 13 bytes.
        assert_eq!(&bytes[..8], &15_u64.to_le_bytes());
        assert_eq!(&bytes[12..14], &[0x1a, 13]);
        assert_eq!(&bytes[14..27], b"brain.Event:2");
        // crc32c("123456789") is the check value that everybody publishes.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(bytes.len(), 8 + 4 + 15 + 4);
    }
}
