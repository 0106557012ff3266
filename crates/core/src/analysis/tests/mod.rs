//! Tables of Argo's rules, named for the sections of the specification they come from, and what holds for every run.

mod properties;
pub(super) mod rig;
mod table_1_10_rules;
mod table_1_11_new_runs;
mod table_1_12_conditions;
mod table_1_2_templates;
mod table_1_3_arguments;
mod table_1_4_placeholders;
mod table_1_5_passes;
mod table_1_6_schedule;
mod table_1_7_limits;
mod table_1_8_runs;
mod table_1_9_validation;
