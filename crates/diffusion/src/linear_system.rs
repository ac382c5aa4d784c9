//! A few linear equations in f64, for solvers' coefficients and averages. Leaves out anything large.

/// The x with `rows` x = right-hand side, by Gauss-Jordan elimination with pivots; each row ends with its right-hand
/// side. Not finite where the matrix is singular.
pub(crate) fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let size = rows.len();
    for pivot in 0..size {
        let best =
            (pivot..size).max_by(|&a, &b| rows[a][pivot].abs().total_cmp(&rows[b][pivot].abs()));
        rows.swap(pivot, best.unwrap_or(pivot));
        let lead = rows[pivot].clone();
        for (_, row) in rows
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| *index != pivot)
        {
            let factor = row[pivot] / lead[pivot];
            row.iter_mut()
                .zip(&lead)
                .for_each(|(value, above)| *value -= factor * above);
        }
    }
    (0..size).map(|i| rows[i][size] / rows[i][i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pivots_and_solves() {
        // y = 3, x + 2 y = 8.
        let solution = solve(vec![vec![0.0, 1.0, 3.0], vec![1.0, 2.0, 8.0]]);
        assert_eq!(solution, [2.0, 3.0]);
    }
}
