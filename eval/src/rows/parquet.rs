//! Parquet rows, read one at a time.
//!
//! A row group may hold the whole file (gigabytes); what is held here is one page of each column
//! that is read, and one row. Types come from the parquet schema alone, not from the Arrow schema
//! that writers embed, so that dictionary and view types need no code.

use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, types};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::EvalError;
use crate::error::{Place, Position};
use crate::rows::{Columns, RowText};

pub(super) struct ParquetRows {
    file: Arc<Path>,
    /// All columns of the file, also those that are not read.
    pub(super) column_names: Vec<String>,
    reader: ParquetRecordBatchReader,
    /// Rows read so far.
    done: u64,
}

impl ParquetRows {
    pub(super) fn open(file: Arc<Path>, columns: Columns<'_>) -> Result<Self, EvalError> {
        let input = File::open(&file).map_err(EvalError::read(&file))?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = guarded(&file, || {
            ParquetRecordBatchReaderBuilder::try_new_with_options(input, options)
        })?;
        let column_names: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let wanted = (0..column_names.len()).filter(|&index| columns(&column_names[index]));
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        // One row at a time: a row of CodeContests can be a hundred megabytes.
        let builder = builder.with_projection(mask).with_batch_size(1);
        let reader = guarded(&file, || builder.build())?;
        Ok(Self {
            file,
            column_names,
            reader,
            done: 0,
        })
    }

    pub(super) fn first_place(&self) -> Place {
        Place {
            file: Arc::clone(&self.file),
            at: Position::Row(1),
        }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<RowText>, EvalError> {
        let place = Place {
            file: Arc::clone(&self.file),
            at: Position::Row(self.done + 1),
        };
        let batch = guarded(&self.file, || self.reader.next().transpose())?;
        let Some(batch) = batch else { return Ok(None) };
        self.done += 1;
        let mut text = vec![b'{'];
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            write_name(field.name(), &mut text);
            if let Err(reason) = write_value(column.as_ref(), 0, &mut text) {
                return Err(EvalError::field(place, field.name(), reason));
            }
        }
        text.push(b'}');
        let text =
            String::from_utf8(text).map_err(|error| EvalError::parquet(&self.file, error))?;
        Ok(Some(RowText {
            place,
            text,
            offset: 0,
        }))
    }
}

/// Calls into the decoder, which panics on some files whose bytes are mangled where no checksum
/// covers them. After an error nothing is read any more, so that what a panic left behind is not
/// looked at.
fn guarded<T, E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    file: &Path,
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, EvalError> {
    match panic::catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|error| EvalError::parquet(file, error)),
        Err(_) => Err(EvalError::parquet(
            file,
            "the file is corrupt (its decoder panicked)",
        )),
    }
}

/// Writes `"name":`, after a comma unless it is the object's first.
fn write_name(name: &str, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_text(name, out);
    out.push(b':');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text always serialises into memory");
}

/// Writes one cell as JSON.
fn write_value(array: &dyn Array, index: usize, out: &mut Vec<u8>) -> Result<(), String> {
    macro_rules! number {
        ($kind:ty) => {
            out.extend_from_slice(
                array
                    .as_primitive::<$kind>()
                    .value(index)
                    .to_string()
                    .as_bytes(),
            )
        };
    }
    if array.is_null(index) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Utf8 => write_text(array.as_string::<i32>().value(index), out),
        DataType::LargeUtf8 => write_text(array.as_string::<i64>().value(index), out),
        DataType::Binary => {
            // Writers that do not annotate their texts.
            let text = std::str::from_utf8(array.as_binary::<i32>().value(index));
            write_text(text.map_err(|_| "not UTF-8")?, out);
        }
        DataType::Boolean => {
            let value = array.as_boolean().value(index);
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
        DataType::Int8 => number!(types::Int8Type),
        DataType::Int16 => number!(types::Int16Type),
        DataType::Int32 => number!(types::Int32Type),
        DataType::Int64 => number!(types::Int64Type),
        DataType::UInt8 => number!(types::UInt8Type),
        DataType::UInt16 => number!(types::UInt16Type),
        DataType::UInt32 => number!(types::UInt32Type),
        DataType::UInt64 => number!(types::UInt64Type),
        DataType::Float32 => write_float(
            array
                .as_primitive::<types::Float32Type>()
                .value(index)
                .into(),
            out,
        ),
        DataType::Float64 => {
            write_float(array.as_primitive::<types::Float64Type>().value(index), out)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            out.push(b'{');
            for (field, column) in fields.iter().zip(columns) {
                write_name(field.name(), out);
                write_value(column.as_ref(), index, out)?;
            }
            out.push(b'}');
        }
        DataType::List(_) => write_list(array.as_list::<i32>().value(index).as_ref(), out)?,
        DataType::LargeList(_) => write_list(array.as_list::<i64>().value(index).as_ref(), out)?,
        DataType::Null => out.extend_from_slice(b"null"),
        other => return Err(format!("a column of type {other} cannot be read")),
    }
    Ok(())
}

fn write_list(items: &dyn Array, out: &mut Vec<u8>) -> Result<(), String> {
    out.push(b'[');
    for index in 0..items.len() {
        if index > 0 {
            out.push(b',');
        }
        write_value(items, index, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_float(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(format!("{value:?}").as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}
