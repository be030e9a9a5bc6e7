//! A line chart as SVG: both axes logarithmic, readable on light and on dark ground.

use std::fmt::Write;

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    /// In the order of `x`; both coordinates above zero.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub title: String,
    pub x_title: String,
    pub y_title: String,
    pub series: Vec<Series>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 180.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// The viewer's own colours for text and grid; the lines' colours are far enough from white and from black.
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}\
.grid{stroke:#8884;stroke-width:1}.line{fill:none;stroke-width:2}\
.s0{stroke:#2f7ed8;color:#2f7ed8}.s1{stroke:#d9731a;color:#d9731a}.s2{stroke:#2a9d5c;color:#2a9d5c}.s3{stroke:#b04fc4;color:#b04fc4}\
.dot{fill:currentColor;stroke:none}@media(prefers-color-scheme:dark){text{fill:#ddd}}";

/// How many lines have a colour of their own.
const COLOURS: usize = 4;

impl Chart {
    /// The chart as a file's text.
    pub fn to_svg(&self) -> String {
        let (x, y) = (self.axis(|point| point.0), self.axis(|point| point.1));
        let place_x = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
        let place_y = |value: f64| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<style>{STYLE}</style>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"22\">{}</text>\n",
            escaped(&self.title)
        );
        // Writing into a string cannot fail.
        for tick in x.ticks() {
            let at = place_x(tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                label(tick)
            );
        }
        for tick in y.ticks() {
            let at = place_y(tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                label(tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"16\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1})\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 10.0,
            escaped(&self.x_title),
            f64::midpoint(TOP, bottom),
            f64::midpoint(TOP, bottom),
            escaped(&self.y_title)
        );
        for (index, series) in self.series.iter().enumerate() {
            let colour = index % COLOURS;
            let places: Vec<(f64, f64)> = series.points.iter().map(|&(a, b)| (place_x(a), place_y(b))).collect();
            let path: Vec<String> = places.iter().map(|(a, b)| format!("{a:.1} {b:.1}")).collect();
            let _ = writeln!(svg, "<g class=\"s{colour}\"><path class=\"line\" d=\"M{}\"/>", path.join("L"));
            for (a, b) in &places {
                let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"3\"/>");
            }
            let row = TOP + 10.0 + 20.0 * index as f64;
            let (from, to) = (right + 12.0, right + 32.0);
            let _ = writeln!(
                svg,
                "<path class=\"line\" d=\"M{from} {row}H{to}\"/></g><text x=\"{}\" y=\"{}\">{}</text>",
                to + 6.0,
                row + 4.0,
                escaped(&series.name)
            );
        }
        svg + "</svg>\n"
    }

    fn axis(&self, coordinate: impl Fn(&(f64, f64)) -> f64) -> Axis {
        let values = self.series.iter().flat_map(|series| &series.points).map(coordinate).filter(|value| *value > 0.0);
        let (min, max) = values.fold((f64::INFINITY, 0.0_f64), |(min, max), value| (min.min(value), max.max(value)));
        match min.is_finite() {
            true => Axis { min: min / 1.2, max: max * 1.2 },
            false => Axis { min: 1.0, max: 10.0 },
        }
    }
}

/// A logarithmic axis.
struct Axis {
    min: f64,
    max: f64,
}

impl Axis {
    /// How far along the axis a value is: 0 to 1.
    fn share(&self, value: f64) -> f64 {
        ((value.max(self.min) / self.min).ln() / (self.max / self.min).ln()).clamp(0.0, 1.0)
    }

    /// 1, 2 and 5 times each power of ten; only the powers where those are many.
    fn ticks(&self) -> Vec<f64> {
        let decades = self.min.log10().floor() as i32..=self.max.log10().ceil() as i32;
        let steps: &[f64] = if decades.clone().count() > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10.0_f64.powi(decade)));
        all.filter(|tick| (self.min..=self.max).contains(tick)).collect()
    }
}

fn label(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let series = |name: &str| Series { name: name.to_owned(), points: vec![(1.0, 100.0), (32.0, 4_000.0)] };
        Chart {
            title: "W2 & <more>".to_owned(),
            x_title: "tasks".to_owned(),
            y_title: "commands a second".to_owned(),
            series: vec![series("W2"), series("F2")],
        }
    }

    #[test]
    fn a_chart_holds_every_point_and_name_within_its_borders() {
        let svg = chart().to_svg();
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains("W2 &amp; &lt;more&gt;") && svg.contains(">F2</text>"));
        assert!(svg.contains("prefers-color-scheme:dark"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }

    #[test]
    fn more_is_further_up_and_to_the_right() {
        let axis = Axis { min: 1.0, max: 100.0 };
        assert!(axis.share(10.0) > axis.share(5.0));
        assert_eq!((axis.share(1.0), axis.share(100.0)), (0.0, 1.0));
        assert_eq!(axis.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn a_chart_without_points_is_a_chart() {
        let svg = Chart { series: Vec::new(), ..chart() }.to_svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
