//! The Universal Scalability Law: throughput over the number of users, X(N) = λN / (1 + σ(N−1) + κN(N−1)), with λ the
//! throughput of one, σ the share that is contended for and κ the price of keeping everybody in step (Gunther, Guerrilla
//! Capacity Planning, Springer 2007).
//!
//! N/X is linear in 1/λ, σ/λ and κ/λ, so the fit is weighted least squares; terms that would be negative are left out.

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Law {
    pub lambda: f64,
    pub sigma: f64,
    pub kappa: f64,
    /// The share of the variance of X that the law explains.
    pub fit: f64,
}

impl Law {
    pub fn throughput(&self, users: f64) -> f64 {
        self.lambda * users / (1.0 + self.sigma * (users - 1.0) + self.kappa * users * (users - 1.0))
    }

    /// Where throughput is highest; `None` where it only levels off.
    pub fn peak_users(&self) -> Option<f64> {
        (self.kappa > 1e-9).then(|| ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt())
    }

    /// What throughput cannot exceed, whatever the number of users.
    pub fn ceiling(&self) -> Option<f64> {
        match self.peak_users() {
            Some(users) => Some(self.throughput(users.max(1.0))),
            None => (self.sigma > 1e-9).then(|| self.lambda / self.sigma),
        }
    }
}

/// Fits the law to pairs of users and throughput; `None` for fewer than four, or without a solution.
pub fn fit(points: &[(f64, f64)]) -> Option<Law> {
    let points: Vec<(f64, f64)> = points.iter().copied().filter(|(n, x)| *n > 0.0 && *x > 0.0).collect();
    if points.len() < 4 {
        return None;
    }
    let subsets: [&[usize]; 4] = [&[0, 1, 2], &[0, 1], &[0, 2], &[0]];
    let laws = subsets.into_iter().filter_map(|terms| solve(&points, terms)).filter_map(|c| law(c, &points));
    laws.max_by(|a, b| a.fit.total_cmp(&b.fit))
}

fn law([a, b, c]: [f64; 3], points: &[(f64, f64)]) -> Option<Law> {
    if a <= 0.0 || b < 0.0 || c < 0.0 {
        return None;
    }
    let mut law = Law { lambda: 1.0 / a, sigma: b / a, kappa: c / a, fit: 0.0 };
    let mean = points.iter().map(|p| p.1).sum::<f64>() / points.len() as f64;
    let (left, total) = points
        .iter()
        .fold((0.0, 0.0), |(left, total), (n, x)| (left + (x - law.throughput(*n)).powi(2), total + (x - mean).powi(2)));
    law.fit = if total > 0.0 { 1.0 - left / total } else { 1.0 };
    Some(law)
}

/// Weighted least squares of N/X on the chosen terms of 1, N−1 and N(N−1), by Gaussian elimination.
fn solve(points: &[(f64, f64)], terms: &[usize]) -> Option<[f64; 3]> {
    let size = terms.len();
    let mut matrix = [[0.0; 4]; 3];
    for (n, x) in points {
        let all = [1.0, n - 1.0, n * (n - 1.0)];
        let (y, weight) = (n / x, (x / n).powi(2));
        for (row, i) in terms.iter().enumerate() {
            for (column, j) in terms.iter().enumerate() {
                matrix[row][column] += weight * all[*i] * all[*j];
            }
            matrix[row][size] += weight * all[*i] * y;
        }
    }
    for pivot in 0..size {
        let best = (pivot..size).max_by(|a, b| matrix[*a][pivot].abs().total_cmp(&matrix[*b][pivot].abs()))?;
        matrix.swap(pivot, best);
        if matrix[pivot][pivot].abs() < 1e-12 {
            return None;
        }
        let lead = matrix[pivot];
        for row in (0..size).filter(|row| *row != pivot) {
            let factor = matrix[row][pivot] / lead[pivot];
            (0..=size).for_each(|column| matrix[row][column] -= factor * lead[column]);
        }
    }
    let mut found = [0.0; 3];
    terms.iter().enumerate().for_each(|(row, i)| found[*i] = matrix[row][size] / matrix[row][row]);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_is_found_again_in_its_own_curve() {
        let law = Law { lambda: 2.0, sigma: 0.1, kappa: 0.01, fit: 1.0 };
        let points: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0].map(|n| (n, law.throughput(n))).to_vec();
        let found = fit(&points).unwrap();
        assert!((found.lambda - 2.0).abs() < 1e-6 && (found.sigma - 0.1).abs() < 1e-6 && (found.kappa - 0.01).abs() < 1e-6);
        assert!((found.peak_users().unwrap() - 9.486).abs() < 0.01);
    }

    #[test]
    fn a_curve_that_levels_off_has_a_ceiling_and_no_peak() {
        let points: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0].map(|n: f64| (n, n / (1.0 + 0.5 * (n - 1.0)))).to_vec();
        let found = fit(&points).unwrap();
        assert!(found.peak_users().is_none_or(|n| n > 50.0), "{found:?}");
        assert!((found.ceiling().unwrap() - 2.0).abs() < 0.1, "{found:?}");
        assert_eq!(fit(&points[..3]), None);
    }
}
