//! `report.svg`: score by layer, its interval as a band, the majority, the control task, the mix of all layers.

use plotters::prelude::*;

use super::report::{LayerReport, Report, score_name};
use super::scores::ScoreName;
use crate::error::{Error, Result};

/// Width and height in pixels.
const SIZE: (u32, u32) = (760, 460);
const BLUE: RGBColor = RGBColor(31, 95, 160);
const GREY: RGBColor = RGBColor(120, 120, 120);
const ORANGE: RGBColor = RGBColor(200, 100, 20);
const GREEN: RGBColor = RGBColor(40, 130, 70);
const FONT: &str = "sans-serif";

/// The plot of a report as SVG.
///
/// # Errors
/// [`Error::Probe`] when the plot cannot be drawn.
pub fn draw(report: &Report) -> Result<String> {
    let mut svg = String::new();
    drawn(report, &mut svg).map_err(|error| Error::Probe(format!("the plot cannot be drawn: {error}")))?;
    Ok(svg)
}

fn drawn(report: &Report, svg: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let layers = &report.layers;
    let last = layers.len() as f64 - 1.0;
    let (low, high) = range(report);
    let title = format!(
        "{}, {} vectors of {}",
        report.task.describe(report.emit),
        report.emit.name(),
        model_name(&report.model.id)
    );
    let mut chart = ChartBuilder::on(&area)
        .margin(14)
        .caption(title, (FONT, 18))
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(-0.3..last + 0.3, low..high)?;
    let names: Vec<String> = layers.iter().map(super::report::LayerReport::label).collect();
    let x_label = |at: &f64| {
        let nearest = at.round();
        let is_layer = (at - nearest).abs() < 1e-6 && nearest >= 0.0;
        if is_layer { names.get(nearest as usize).cloned().unwrap_or_default() } else { String::new() }
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.5))
        .x_labels(layers.len() + 1)
        .x_label_formatter(&x_label)
        .y_label_formatter(&|value| format!("{value:.2}"))
        .x_desc("layer (0 = embeddings)")
        .y_desc(score_name(&report.primary))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;

    let at = |index: usize| index as f64;
    let upper = layers.iter().enumerate().map(|(index, layer)| (at(index), layer.interval[1]));
    let lower = layers.iter().enumerate().rev().map(|(index, layer)| (at(index), layer.interval[0]));
    if layers.len() > 1 {
        chart.draw_series([Polygon::new(upper.chain(lower).collect::<Vec<_>>(), BLUE.mix(0.16).filled())])?;
    }
    let across = |value: f64| [(-0.3, value), (last + 0.3, value)];
    let dashes = |value: f64, colour: RGBColor| DashedLineSeries::new(across(value), 6, 4, colour.stroke_width(2));
    chart
        .draw_series(dashes(report.baseline.score, GREY))?
        .label("majority")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GREY.stroke_width(2)));
    if let Some(mix) = &report.mix {
        chart
            .draw_series(dashes(mix.score, GREEN))?
            .label("mix of all layers")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], GREEN.stroke_width(2)));
    }
    let control: Vec<(f64, f64)> =
        layers.iter().enumerate().filter_map(|(index, layer)| Some((at(index), control(report, layer)?))).collect();
    if !control.is_empty() {
        chart
            .draw_series(LineSeries::new(control.clone(), ORANGE.stroke_width(2)))?
            .label("control task")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], ORANGE.stroke_width(2)));
        chart.draw_series(control.into_iter().map(|point| Circle::new(point, 3, ORANGE.filled())))?;
    }
    let scores: Vec<(f64, f64)> = layers.iter().enumerate().map(|(index, layer)| (at(index), layer.score)).collect();
    chart
        .draw_series(LineSeries::new(scores.clone(), BLUE.stroke_width(3)))?
        .label(format!("{} with 95 % interval", score_name(&report.primary)))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLUE.stroke_width(3)));
    chart.draw_series(scores.into_iter().zip(layers).map(|(point, layer)| {
        let size = if layer.name == report.best { 6 } else { 4 };
        Circle::new(point, size, BLUE.filled())
    }))?;
    chart
        .configure_series_labels()
        .position(legend_place(report, (low, high)))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 14))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The score of the control task, if it is the same kind of score as the layers'.
fn control(report: &Report, layer: &LayerReport) -> Option<f64> {
    if report.primary == ScoreName::EntityF1.name() { None } else { layer.control }
}

/// The range of everything that is drawn, with a margin.
fn range(report: &Report) -> (f64, f64) {
    let layers = report
        .layers
        .iter()
        .flat_map(|layer| [Some(layer.interval[0]), Some(layer.interval[1]), control(report, layer)]);
    let others = [Some(report.baseline.score), report.mix.as_ref().map(|mix| mix.score)];
    let all = || layers.clone().chain(others).flatten();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let margin = ((high - low) * 0.08).max(0.005);
    (low - margin, high + margin)
}

/// A corner without lines, between the scores and what lies below them.
fn legend_place(report: &Report, (low, high): (f64, f64)) -> SeriesLabelPosition {
    let lowest = report.layers.iter().map(|layer| layer.interval[0]).fold(f64::INFINITY, f64::min);
    if lowest > low + (high - low) * 0.45 { SeriesLabelPosition::MiddleRight } else { SeriesLabelPosition::LowerRight }
}

/// The last component of a path or id.
fn model_name(id: &str) -> &str {
    id.trim_end_matches('/').rsplit('/').next().unwrap_or(id)
}
