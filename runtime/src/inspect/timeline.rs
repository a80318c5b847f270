//! `weir inspect timeline`: a page that draws every retained checkpoint, subtask by subtask. Pure.
//!
//! The page is one file without scripts, fonts or images from elsewhere, so that it works offline and can be attached to
//! a ticket. Time runs from each checkpoint's trigger; a bar's numbers show when it is pointed at.

use std::fmt::{self, Write};

use weir_protocol::{Manifest, SubtaskTimeline};

use super::chart::{Scale, escape, shorten};
use super::model::{Checkpoint, History, chain_parts};
use crate::show;

const STYLE: &str = include_str!("timeline.css");

/// Layout of a drawing, in its own units.
const WIDTH: f64 = 1100.0;
const NAMES: f64 = 190.0;
/// Right ends of the columns of numbers.
const SYNC: f64 = 910.0;
const DURABLE: f64 = 1000.0;
const BYTES: f64 = 1090.0;
/// Where the bars end.
const BARS: f64 = 840.0;
const ROW: f64 = 24.0;
const BAR: f64 = 12.0;
const AXIS: f64 = 26.0;
/// Characters of an operator's name that fit into [`NAMES`].
const NAME_LENGTH: usize = 24;

/// The whole page.
pub fn timeline(history: &History, now: i64) -> String {
    let mut page = String::new();
    write_page(&mut page, history, now).expect("writing to a string cannot fail");
    page
}

fn write_page(out: &mut String, history: &History, now: i64) -> fmt::Result {
    let head = &history.newest.head;
    let name = history.uri.rsplit('/').next().unwrap_or(&history.uri);
    let title = format!("Checkpoints of {name}");
    writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(out, "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>", escape(&title))?;
    writeln!(out, "<h1>{}</h1>", escape(&title))?;
    writeln!(
        out,
        "<p class=\"sub\"><code>{}</code><br>job {}, {}, generation {}, read at {}</p>",
        escape(&history.uri),
        escape(head.job_id.as_str()),
        escape(&head.status.to_string()),
        head.generation,
        show::time(now)
    )?;
    write_legend(out)?;
    write_tiles(out, history)?;
    for checkpoint in history.checkpoints.iter().rev() {
        write_checkpoint(out, checkpoint)?;
    }
    writeln!(
        out,
        "<footer>Drawn by weir {} from the manifests of the retained checkpoints.</footer>",
        env!("CARGO_PKG_VERSION")
    )?;
    writeln!(out, "</main>\n</body>\n</html>")
}

fn write_legend(out: &mut String) -> fmt::Result {
    let phases = [
        ("wait", "barrier on its way"),
        ("align", "alignment: first to last barrier"),
        ("sync", "sync: the record path stands still"),
        ("async", "async: sorted and written behind the stream"),
        ("upload", "of it uploading"),
        ("end", "durable"),
    ];
    writeln!(out, "<ul class=\"legend\">")?;
    for (class, text) in phases {
        writeln!(out, "<li><i style=\"background: var(--{class})\"></i>{text}</li>")?;
    }
    writeln!(out, "</ul>")
}

/// One tile per checkpoint, with its duration as a share of the longest.
fn write_tiles(out: &mut String, history: &History) -> fmt::Result {
    let longest = history.checkpoints.iter().map(Checkpoint::duration_ms).max().unwrap_or(0).max(1);
    writeln!(out, "<nav class=\"tiles\">")?;
    for checkpoint in history.checkpoints.iter().rev() {
        let entry = &checkpoint.entry;
        let share = checkpoint.duration_ms() as f64 * 100.0 / longest as f64;
        writeln!(
            out,
            "<a class=\"tile\" href=\"#c{id}\"><b>{took}</b><span>{kind} {id}</span><span>{bytes} uploaded</span>\
             <div class=\"meter\"><i style=\"width: {share:.1}%\"></i></div></a>",
            id = entry.id,
            took = show::millis(checkpoint.duration_ms()),
            kind = entry.kind,
            bytes = show::bytes(entry.bytes_incremental),
        )?;
    }
    writeln!(out, "</nav>")
}

fn write_checkpoint(out: &mut String, checkpoint: &Checkpoint) -> fmt::Result {
    let entry = &checkpoint.entry;
    writeln!(out, "<section id=\"c{}\">", entry.id)?;
    writeln!(
        out,
        "<h2>{} {} <span class=\"badge\">generation {}</span></h2>",
        match entry.kind {
            weir_protocol::ManifestKind::Checkpoint => "Checkpoint",
            weir_protocol::ManifestKind::Savepoint => "Savepoint",
            weir_protocol::ManifestKind::Final => "Final checkpoint",
        },
        entry.id,
        entry.generation
    )?;
    writeln!(
        out,
        "<div class=\"facts\"><span>triggered <b>{}</b></span><span>took <b>{}</b></span><span>uploaded <b>{}</b></span>\
         <span>full <b>{}</b></span>{}</div>",
        show::time(entry.triggered_at.0),
        show::millis(checkpoint.duration_ms()),
        show::bytes(entry.bytes_incremental),
        show::bytes(entry.bytes_full),
        checkpoint.manifest.as_ref().map(chain_fact).unwrap_or_default()
    )?;
    match &checkpoint.manifest {
        Ok(manifest) if manifest.timeline.is_empty() => {
            writeln!(out, "<p class=\"sub\">No subtask left its timings.</p>")?
        }
        Ok(manifest) => write_drawing(out, manifest)?,
        Err(reason) => writeln!(out, "<p class=\"damaged\">Damaged: {}</p>", escape(reason))?,
    }
    writeln!(out, "</section>")
}

fn chain_fact(manifest: &Manifest) -> String {
    let (runs, bases) = chain_parts(manifest);
    format!("<span>chain <b>{}, {}</b></span>", show::count_of(bases, "base"), show::count_of(runs, "run"))
}

fn write_drawing(out: &mut String, manifest: &Manifest) -> fmt::Result {
    let rows = &manifest.timeline;
    let span = rows.iter().map(SubtaskTimeline::duration_us).max().unwrap_or(0);
    let scale = Scale::new(NAMES, BARS - NAMES, span);
    let bottom = AXIS + ROW * rows.len() as f64;
    writeln!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"phases of checkpoint {}\">",
        bottom + 4.0,
        manifest.checkpoint
    )?;
    for index in (1..rows.len()).step_by(2) {
        let y = AXIS + ROW * index as f64;
        writeln!(out, "<rect class=\"stripe\" x=\"0\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{ROW}\"/>")?;
    }
    for (x, label) in scale.ticks() {
        writeln!(
            out,
            "<line class=\"grid\" x1=\"{x:.2}\" y1=\"{:.1}\" x2=\"{x:.2}\" y2=\"{bottom:.1}\"/>",
            AXIS - 6.0
        )?;
        writeln!(out, "<text x=\"{x:.2}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", AXIS - 12.0)?;
    }
    for (x, heading) in [(SYNC, "sync"), (DURABLE, "durable after"), (BYTES, "bytes")] {
        writeln!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"end\">{heading}</text>", AXIS - 12.0)?;
    }
    for (index, row) in rows.iter().enumerate() {
        write_row(out, row, &scale, AXIS + ROW * index as f64)?;
    }
    writeln!(out, "</svg>")
}

/// One subtask: its name, its phases, its numbers.
fn write_row(out: &mut String, row: &SubtaskTimeline, scale: &Scale, y: f64) -> fmt::Result {
    let since = |at: i64| u64::try_from(at.saturating_sub(row.trigger_at_us)).unwrap_or(0);
    let (first, last) = (since(row.alignment_start_us), since(row.alignment_end_us));
    let sealed = last + row.sync_us;
    let written = sealed + row.async_us;
    let end = row.duration_us();
    let full = format!("{}[{}]", row.operator, row.subtask);
    let suffix = format!("[{}]", row.subtask);
    let name = format!("{}{suffix}", shorten(row.operator.as_str(), NAME_LENGTH - suffix.chars().count()));
    let (bar, text) = (y + (ROW - BAR) / 2.0, y + ROW / 2.0 + 4.0);
    writeln!(
        out,
        "<text class=\"name\" x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>",
        NAMES - 12.0,
        escape(&name)
    )?;
    let thin = (bar + (BAR - 2.0) / 2.0, 2.0);
    let thick = (bar, BAR);
    let tall = (bar - 2.0, BAR + 4.0);
    let title = |what: &str, us: u64| format!("{full}\n{what}: {}", show::micros(us));
    if first > 0 {
        scale.bar(out, "wait", thin, 0..first, &title("barrier on its way", first));
    }
    if last > first {
        scale.bar(out, "align", thick, first..last, &title("alignment", last - first));
    }
    if row.async_us > 0 {
        let title =
            format!("{full}\nasync: {}, of it uploading: {}", show::micros(row.async_us), show::micros(row.upload_us));
        scale.bar(out, "async", thick, sealed..written, &title);
        if row.upload_us > 0 {
            let uploading = written.saturating_sub(row.upload_us.min(row.async_us));
            scale.bar(out, "upload", thick, uploading..written, &title);
        }
    }
    if end > written {
        scale.bar(out, "wait", thin, written..end, &title("waited for others of its worker", end - written));
    }
    scale.bar(out, "sync", tall, last..sealed, &title("sync", row.sync_us));
    scale.bar(out, "end", tall, end..end, &title("durable after", end));
    for (x, number) in
        [(SYNC, show::micros(row.sync_us)), (DURABLE, show::micros(end)), (BYTES, show::bytes(row.bytes))]
    {
        writeln!(out, "<text x=\"{x:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{number}</text>")?;
    }
    Ok(())
}
