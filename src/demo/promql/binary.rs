//! Operators between scalars and vectors: arithmetic, comparisons, `and`, `or`, `unless`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MOD, T_MUL, T_NEQ, T_POW,
    T_SUB, TokenId,
};
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::Refusal;
use super::evaluate::{PromqlEvaluator, Value, unsupported};
use super::vector::{Element, NAME, Vector, distinct, nameless, only, place, without};
use crate::engine::Labels;

/// A binary operator; comparisons filter unless `bool` asks for 0 and 1.
#[derive(Clone, Copy)]
enum Op {
    Arithmetic(fn(f64, f64) -> f64),
    Comparison(fn(&f64, &f64) -> bool),
}

impl Op {
    fn of(id: TokenId) -> Option<Op> {
        use Op::{Arithmetic, Comparison};
        Some(match id {
            _ if id == T_ADD => Arithmetic(|a, b| a + b),
            _ if id == T_SUB => Arithmetic(|a, b| a - b),
            _ if id == T_MUL => Arithmetic(|a, b| a * b),
            _ if id == T_DIV => Arithmetic(|a, b| a / b),
            _ if id == T_MOD => Arithmetic(|a, b| a % b),
            _ if id == T_POW => Arithmetic(f64::powf),
            _ if id == T_ATAN2 => Arithmetic(f64::atan2),
            _ if id == T_EQLC => Comparison(f64::eq),
            _ if id == T_NEQ => Comparison(f64::ne),
            _ if id == T_GTR => Comparison(f64::gt),
            _ if id == T_LSS => Comparison(f64::lt),
            _ if id == T_GTE => Comparison(f64::ge),
            _ if id == T_LTE => Comparison(f64::le),
            _ => return None,
        })
    }

    /// The value of `a op b`, or `None` when a comparison filters it out. `kept` is what a comparison lets through.
    fn apply(self, a: f64, b: f64, kept: f64, as_bool: bool) -> Option<f64> {
        match self {
            Op::Arithmetic(of) => Some(of(a, b)),
            Op::Comparison(holds) if as_bool => Some(f64::from(u8::from(holds(&a, &b)))),
            Op::Comparison(holds) => holds(&a, &b).then_some(kept),
        }
    }

    fn drops_name(self, as_bool: bool) -> bool {
        as_bool || matches!(self, Op::Arithmetic(_))
    }
}

impl PromqlEvaluator<'_> {
    pub(super) fn binary(&mut self, binary: &BinaryExpr, at_ms: i64) -> Result<Value, Refusal> {
        let modifier = binary.modifier.clone().unwrap_or_default();
        if modifier.fill_values != Default::default() {
            return Err(unsupported("fill()"));
        }
        let (left, right) = (self.value(&binary.lhs, at_ms)?, self.value(&binary.rhs, at_ms)?);
        let id = binary.op.id();
        if let (true, Value::Vector(left), Value::Vector(right)) = (binary.op.is_set_operator(), &left, &right) {
            return self.set(binary, &modifier, left, right).and_then(distinct).map(Value::Vector);
        }
        let op = Op::of(id).ok_or_else(|| unsupported(&format!("the operator {}", binary.op)))?;
        let as_bool = modifier.return_bool;
        Ok(match (left, right) {
            (Value::Scalar(a), Value::Scalar(b)) => {
                let value = op.apply(a, b, a, true);
                Value::Scalar(value.expect("only a filtering comparison gives no value"))
            }
            (Value::Vector(left), Value::Scalar(b)) => {
                let each = |value: f64| op.apply(value, b, value, as_bool);
                Value::Vector(self.with_scalar(binary, left, op.drops_name(as_bool), each)?)
            }
            (Value::Scalar(a), Value::Vector(right)) => {
                let each = |value: f64| op.apply(a, value, value, as_bool);
                Value::Vector(self.with_scalar(binary, right, op.drops_name(as_bool), each)?)
            }
            (Value::Vector(left), Value::Vector(right)) => {
                Value::Vector(distinct(self.matched(binary, &modifier, op, &left, &right, at_ms)?)?)
            }
        })
    }

    fn with_scalar(
        &mut self,
        binary: &BinaryExpr,
        vector: Vector,
        drops_name: bool,
        each: impl Fn(f64) -> Option<f64>,
    ) -> Result<Vector, Refusal> {
        let mut out = Vec::with_capacity(vector.len());
        for element in vector {
            let Some(value) = each(element.value) else { continue };
            let labels =
                if drops_name { self.derived.of(place(binary), &element.labels, nameless) } else { element.labels };
            out.push(Element { labels, value, at_ms: element.at_ms });
        }
        distinct(out)
    }

    /// What two elements must share to belong together.
    fn signature(&mut self, binary: &BinaryExpr, modifier: &BinModifier, labels: &Arc<Labels>) -> Arc<Labels> {
        self.derived.signature(place(binary), labels, |labels| match &modifier.matching {
            Some(LabelModifier::Include(on)) => only(labels, &on.labels),
            Some(LabelModifier::Exclude(ignoring)) => nameless(&without(labels, &ignoring.labels)),
            None => nameless(labels),
        })
    }

    fn set(
        &mut self,
        binary: &BinaryExpr,
        modifier: &BinModifier,
        left: &Vector,
        right: &Vector,
    ) -> Result<Vector, Refusal> {
        let id = binary.op.id();
        let mut signatures = |vector: &Vector| -> Vec<Arc<Labels>> {
            vector.iter().map(|element| self.signature(binary, modifier, &element.labels)).collect()
        };
        let (of_left, of_right) = (signatures(left), signatures(right));
        let pick = |vector: &Vector, signatures: &[Arc<Labels>], other: &[Arc<Labels>], present: bool| -> Vector {
            let other: BTreeSet<&Arc<Labels>> = other.iter().collect();
            let kept = vector.iter().zip(signatures).filter(|(_, signature)| other.contains(signature) == present);
            kept.map(|(element, _)| element.clone()).collect()
        };
        if id == T_LAND {
            Ok(pick(left, &of_left, &of_right, true))
        } else if id == T_LUNLESS {
            Ok(pick(left, &of_left, &of_right, false))
        } else if id == T_LOR {
            let mut both = left.clone();
            both.extend(pick(right, &of_right, &of_left, false));
            Ok(both)
        } else {
            Err(unsupported(&format!("the operator {}", binary.op)))
        }
    }

    /// One-to-one, `group_left` and `group_right` matching.
    fn matched(
        &mut self,
        binary: &BinaryExpr,
        modifier: &BinModifier,
        op: Op,
        left: &Vector,
        right: &Vector,
        at_ms: i64,
    ) -> Result<Vector, Refusal> {
        if left.is_empty() || right.is_empty() {
            return Ok(Vec::new());
        }
        // The "one" side is looked up by the "many" side; group_right swaps them.
        let swapped = matches!(modifier.card, VectorMatchCardinality::OneToMany(_));
        let (many, one, one_name) = if swapped { (right, left, "left") } else { (left, right, "right") };
        let mut by_signature: BTreeMap<Arc<Labels>, &Element> = BTreeMap::new();
        for element in one {
            let signature = self.signature(binary, modifier, &element.labels);
            if let Some(twin) = by_signature.insert(Arc::clone(&signature), element) {
                return Err(Refusal::Execution(format!(
                    "found duplicate series for the match group {signature} on the {one_name} hand-side of the \
                     operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                    element.labels, twin.labels
                )));
            }
        }
        let one_to_one = modifier.card.labels().is_none();
        let (mut taken, mut out) = (BTreeSet::new(), Vec::new());
        for element in many {
            let signature = self.signature(binary, modifier, &element.labels);
            let Some(partner) = by_signature.get(&signature) else { continue };
            let (a, b) = if swapped { (partner.value, element.value) } else { (element.value, partner.value) };
            let Some(value) = op.apply(a, b, a, modifier.return_bool) else { continue };
            let labels = self.joint(binary, modifier, op, element, partner);
            let key = if one_to_one { signature } else { Arc::clone(&labels) };
            if !taken.insert(key) {
                return Err(Refusal::Execution(if one_to_one {
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".into()
                } else {
                    "multiple matches for labels: grouping labels must ensure unique matches".into()
                }));
            }
            out.push(Element { labels, value, at_ms });
        }
        Ok(out)
    }

    /// Labels of a matched pair.
    fn joint(
        &mut self,
        binary: &BinaryExpr,
        modifier: &BinModifier,
        op: Op,
        many: &Element,
        one: &Element,
    ) -> Arc<Labels> {
        let make = |labels: &Labels| {
            let mut joint = match (&modifier.card, &modifier.matching) {
                (VectorMatchCardinality::OneToOne, Some(LabelModifier::Include(on))) => only(labels, &on.labels),
                (VectorMatchCardinality::OneToOne, Some(LabelModifier::Exclude(names))) => {
                    without(labels, &names.labels)
                }
                _ => labels.clone(),
            };
            if op.drops_name(modifier.return_bool) {
                joint.set(NAME, "");
            }
            for name in modifier.card.labels().iter().flat_map(|included| &included.labels) {
                joint.set(name.as_str(), one.labels.get(name).unwrap_or_default());
            }
            joint
        };
        match modifier.card.labels() {
            Some(included) if !included.labels.is_empty() => Arc::new(make(&many.labels)),
            _ => self.derived.of(place(binary), &many.labels, make),
        }
    }
}
