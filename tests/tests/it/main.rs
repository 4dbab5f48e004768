//! One test binary: scenarios, properties, contracts, end to end.

mod backtest_vs_oracle;
