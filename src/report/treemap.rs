//! Computes a *squarified treemap* (Bruls, Huizing, van Wijk, 2000): tiles with areas in proportion
//! to weights.
//!
//! Rows are filled along the shorter side for as long as their tiles become more square.

/// A rectangle, in the unit of the outermost one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Divides `area` among `weights`, which must be sorted largest first. A zero weight gets an empty
/// tile.
pub(super) fn squarify(weights: &[u64], area: Rectangle) -> Vec<Rectangle> {
    let total: u64 = weights.iter().sum();
    let scale = area.width * area.height / (total.max(1) as f64);
    let areas: Vec<f64> = weights.iter().map(|weight| *weight as f64 * scale).collect();
    let mut free = area;
    let mut tiles = Vec::with_capacity(areas.len());
    let mut rest = areas.as_slice();
    while !rest.is_empty() {
        let side = free.width.min(free.height);
        let mut count = 1;
        while count < rest.len() && worst(&rest[..=count], side) <= worst(&rest[..count], side) {
            count += 1;
        }
        let (row, after) = rest.split_at(count);
        fill(row, &mut free, &mut tiles);
        rest = after;
    }
    tiles
}

/// Returns the largest aspect ratio in a row along a side of this length; 1 is a square.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let thickness = sum / side;
    let ratio = |area: &f64| {
        let length = area / thickness;
        (length / thickness).max(thickness / length)
    };
    row.iter().map(ratio).fold(1.0, f64::max)
}

/// Places a row along the shorter side of `free`, and removes its area.
fn fill(row: &[f64], free: &mut Rectangle, tiles: &mut Vec<Rectangle>) {
    let upright = free.width >= free.height;
    let side = if upright { free.height } else { free.width };
    let sum: f64 = row.iter().sum();
    let thickness = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if thickness > 0.0 { area / thickness } else { 0.0 };
        tiles.push(if upright {
            Rectangle { left: free.left, top: free.top + at, width: thickness, height: length }
        } else {
            Rectangle { left: free.left + at, top: free.top, width: length, height: thickness }
        });
        at += length;
    }
    if upright {
        free.left += thickness;
        free.width = (free.width - thickness).max(0.0);
    } else {
        free.top += thickness;
        free.height = (free.height - thickness).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AREA: Rectangle = Rectangle { left: 0.0, top: 0.0, width: 6.0, height: 4.0 };

    #[test]
    fn divides_as_the_paper_does() {
        let tiles = squarify(&[6, 6, 4, 3, 2, 2, 1], AREA);
        // Left, top, width and height.
        let rounded: Vec<String> = tiles
            .iter()
            .map(|tile| [tile.left, tile.top, tile.width, tile.height].map(|n| format!("{n:.2}")).join(" "))
            .collect();
        assert_eq!(
            rounded[..4],
            ["0.00 0.00 3.00 2.00", "0.00 2.00 3.00 2.00", "3.00 0.00 1.71 2.33", "4.71 0.00 1.29 2.33"]
        );
    }

    proptest! {
        #[test]
        fn tiles_have_their_share_and_stay_inside(mut weights in prop::collection::vec(0_u64..1 << 40, 0..40)) {
            weights.sort_unstable_by(|a, b| b.cmp(a));
            let total: u64 = weights.iter().sum();
            let tiles = squarify(&weights, AREA);
            prop_assert_eq!(tiles.len(), weights.len());
            for (tile, weight) in tiles.iter().zip(&weights) {
                let share = *weight as f64 / total.max(1) as f64;
                prop_assert!((tile.width * tile.height - share * 24.0).abs() < 1e-6, "{:?} {}", tile, weight);
                prop_assert!(tile.left >= -1e-9 && tile.left + tile.width <= 6.0 + 1e-6, "{:?}", tile);
                prop_assert!(tile.top >= -1e-9 && tile.top + tile.height <= 4.0 + 1e-6, "{:?}", tile);
            }
        }
    }
}
