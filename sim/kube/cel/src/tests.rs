use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn any() -> Decl {
    Decl::scalar(Type::Dyn, 1_000, 1)
}

/// The value of an expression without variables, as text.
fn value(text: &str) -> String {
    match Program::compile(text, &[]) {
        Err(report) => report.lines().next().unwrap_or("").to_owned(),
        Ok(program) => match program.evaluate(&[], 1_000_000).0 {
            Ok(Output::Bool(b)) => b.to_string(),
            Ok(Output::Text(t) | Output::Other(t)) => t,
            Err(e) => format!("error: {e}"),
        },
    }
}

#[test]
fn expressions_have_the_values_of_the_language() {
    for (text, expected) in [
        // arithmetic and its errors
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3"),
        ("-7 % 3", "-1"),
        ("7.0 / 2.0", "3.5"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-(-9223372036854775808)", "error: integer overflow"),
        ("0u - 1u", "error: unsigned integer overflow"),
        ("1 == 1.0", "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, double)'"),
        ("dyn(1) == 1.0", "true"),
        ("1 < 1.5 && 2u > 1", "true"),
        ("0.0/0.0 == 0.0/0.0", "false"),
        // logic absorbs errors on either side
        ("1/0 == 1 || true", "true"),
        ("true || 1/0 == 1", "true"),
        ("1/0 == 1 && false", "false"),
        ("1/0 == 1 && true", "error: division by zero"),
        ("[1, 0].exists(x, 10 / x > 5)", "true"),
        ("[0, 1].all(x, 10 / x > 50)", "false"),
        ("[0, 1].all(x, 10 / x > 5)", "error: division by zero"),
        ("true ? 1 : 1/0", "1"),
        // macros
        ("[1, 2, 3].exists_one(x, x > 2)", "true"),
        ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x % 2 == 1)", "[1, 3]"),
        ("{'a': 1, 'b': 2}.all(k, k < 'c')", "true"),
        ("{'a': 1, 'b': 2}.exists(k, v, k == 'b' && v == 2)", "true"),
        ("[1, 2].all(i, v, v == i + 1)", "true"),
        ("[1, 2].transformList(i, v, i * v)", "[0, 2]"),
        ("[1, 2].transformMap(i, v, v > 1, v * 10)", "{1: 20}"),
        ("{'a': 1}.transformMapEntry(k, v, {k + k: v})", "{aa: 1}"),
        ("has({'a': 1}.a) && !has({'a': 1}.b)", "true"),
        ("{'a': 1}.b", "error: no such key: b"),
        ("{'a': 1}['b']", "error: no such key: b"),
        ("[1][1]", "error: index out of bounds: 1"),
        ("{'a': 1, 'a': 2}", "error: insert failed: key a already exists"),
        // optional values
        ("{'a': 1}.?b.orValue(5)", "5"),
        ("{'a': {'b': 2}}.?a.?b.value()", "2"),
        ("[1][?3].hasValue()", "false"),
        ("optional.of(1).optMap(x, x + 1).value()", "2"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("[?optional.of(1), ?optional.none()]", "[1]"),
        ("optional.none().or(optional.of(3)).value()", "3"),
        // types and conversions
        ("type(1) == int && type('a') == string && type([]) == list", "true"),
        ("type(timestamp('2026-01-01T00:00:00Z')) == google.protobuf.Timestamp", "true"),
        ("int('42') + int(2.9) + int(1u)", "45"),
        ("int('x')", "error: strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("string(1.5) + string(true) + string(b'a')", "1.5truea"),
        ("bool('true') && !bool('0')", "true"),
        ("uint(-1)", "error: unsigned integer overflow"),
        ("size('héllo') + size(b'\\xff') + [1].size() + {}.size()", "7"),
        // strings
        ("'abcd'.charAt(1) + 'abc'.substring(1, 2) + ' x '.trim() + 'Ab'.lowerAscii() + 'a'.upperAscii()", "bbxabA"),
        ("'a,b,c'.split(',', 2)", "[a, b,c]"),
        ("'abc'.split('')", "[a, b, c]"),
        ("'aaa'.replace('a', 'b', 2)", "bba"),
        ("['a', 'b'].join('-') + ['c'].join()", "a-bc"),
        ("'hello'.indexOf('l') + 'hello'.lastIndexOf('l') + 'x'.indexOf('y')", "4"),
        ("'abc'.substring(2, 1)", "error: invalid substring range. start: 2, end: 1"),
        ("'abc'.charAt(9)", "error: index out of range: 9"),
        ("'%s is %d, %.2f, %x, %b'.format([dyn('x'), 3, 1.239, 255, 5])", "x is 3, 1.24, ff, 101"),
        (
            "'%d'.format(['x'])",
            "error: error during formatting: decimal clause can only be used on certain types, was given string",
        ),
        ("'a1b22'.findAll('[0-9]+')", "[1, 22]"),
        ("'a1b22'.find('[0-9]+') + '|' + 'x'.find('[0-9]')", "1|"),
        ("'abc'.matches('^[a-c]+$')", "true"),
        ("'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')", "true"),
        // lists and sets
        ("[1, 2, 2].isSorted() && [3, 1].min() == 1 && [3, 1].max() == 3 && [1, 2].sum() == 3", "true"),
        ("['b', 'a'].sort()", "[a, b]"),
        ("[].max() == 1", "error: max called on empty list"),
        ("[1, 2, 1].distinct().reverse() + [[3]].flatten()", "[2, 1, 3]"),
        ("[1, 2, 3].slice(1, 3)", "[2, 3]"),
        ("[1, 2].indexOf(2) + [1, 1].lastIndexOf(1)", "2"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1], [1, 1]) && !sets.intersects([1], [2])", "true"),
        ("1 in [1, 2] && !('x' in {'a': 1})", "true"),
        // time
        ("duration('1h30m').getMinutes()", "90"),
        ("string(duration('90s') + duration('500ms'))", "90.5s"),
        ("timestamp('2026-11-21T10:00:00Z').getDayOfWeek()", "6"),
        ("timestamp('2026-11-21T10:00:00Z').getHours('+02:00')", "12"),
        ("string(timestamp('2026-11-21T10:00:00Z') + duration('24h'))", "2026-11-22T10:00:00Z"),
        ("timestamp('2026-11-21T10:00:00Z') - timestamp('2026-11-21T09:00:00Z') == duration('3600s')", "true"),
        // Kubernetes' libraries
        ("url('https://a.b:8080/p%20q?x=1&x=2').getHostname() + url('https://a.b:8080/').getPort()", "a.b8080"),
        ("url('https://a/p?x=1&x=2').getQuery()['x']", "[1, 2]"),
        ("isURL('/path') && !isURL('a')", "true"),
        ("ip('10.0.0.1').family() == 4 && ip('::1').isLoopback() && isIP('1.2.3.4') && !isIP('1.2.3')", "true"),
        ("ip.isCanonical('::ffff') && !ip.isCanonical('0::1')", "true"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsCIDR('11.0.0.0/16')", "true"),
        ("string(cidr('10.1.2.3/8').masked()) + string(cidr('10.0.0.0/8').prefixLength())", "10.0.0.0/88"),
        (
            "quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('100m').add(quantity('900m')).asInteger() == 1",
            "true",
        ),
        ("quantity('1k') == quantity('1000') && isQuantity('5Mi') && !isQuantity('5 Mi')", "true"),
        ("quantity('50k').sub(1).sign() + quantity('1').compareTo(quantity('2'))", "0"),
        (
            "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
            "true",
        ),
        ("isSemver('1.2') || !isSemver('v1.2', true)", "false"),
        (
            "format.dns1123Label().validate('a-b').hasValue() || !format.dns1123Label().validate('A').hasValue()",
            "false",
        ),
        ("format.named('labelValue').value().validate('a b').value().size()", "1"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn wrong_types_are_found_before_anything_runs() {
    let object = Decl {
        fields: Arc::new(BTreeMap::from([
            ("size".to_owned(), Decl::scalar(Type::Int, 1, 1)),
            ("name".to_owned(), Decl::scalar(Type::String, 10, 2)),
        ])),
        ..Decl::scalar(
            Type::Object(Arc::new(ObjectType {
                name: "selfType".into(),
                fields: BTreeMap::from([
                    ("size".to_owned(), ("size".to_owned(), Type::Int)),
                    ("name".to_owned(), ("name".to_owned(), Type::String)),
                ]),
            })),
            1,
            2,
        )
    };
    for (text, expected) in [
        ("self.size", Ok("int")),
        ("self.size > 1 && self.name.size() < 3", Ok("bool")),
        ("self.sizes > 1", Err("ERROR: <input>:1:5: undefined field 'sizes'\n | self.sizes > 1\n | ....^")),
        (
            "self.size > 'a'",
            Err(
                "ERROR: <input>:1:11: found no matching overload for '_>_' applied to '(int, string)'\n | self.size > 'a'\n | ..........^",
            ),
        ),
        ("selfie", Err("ERROR: <input>:1:1: undeclared reference to 'selfie' (in container '')\n | selfie\n | ^")),
        (
            "self.name.all(x, true)",
            Err(
                "ERROR: <input>:1:5: expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)\n | self.name.all(x, true)\n | ....^",
            ),
        ),
        (
            "self.size.x",
            Err("ERROR: <input>:1:10: type 'int' does not support field selection\n | self.size.x\n | .........^"),
        ),
        (
            "self.nope() == 1",
            Err(
                "ERROR: <input>:1:10: undeclared reference to 'nope' (in container '')\n | self.nope() == 1\n | .........^",
            ),
        ),
        ("[1, 'a']", Err("ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^")),
        (
            "1 + 'a' == 2\n|| unknown",
            Err(
                "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a' == 2\n | ..^\nERROR: <input>:2:4: undeclared reference to 'unknown' (in container '')\n | || unknown\n | ...^",
            ),
        ),
    ] {
        let found = Program::compile(text, &[("self", &object, false)]);
        assert_eq!(found.map(|p| p.result().to_string()), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }
}

#[test]
fn costs_are_counted_estimated_and_limited() {
    let item = Arc::new(Decl::scalar(Type::String, 40, 2));
    let list = Decl { element: Some(item), ..Decl::scalar(Type::list(Type::String), 100, 2) };
    let program = Program::compile("self.all(x, self.exists(y, x == y))", &[("self", &list, false)]).unwrap();
    // Two nested loops over 100 items, each comparing texts of up to 40 characters.
    assert_eq!(program.cost_max(), 1 + 1 + 100 * (3 + (1 + 1 + 100 * (4 + 1 + 1 + 4))));
    let data = json!(vec!["x"; 100]);
    let (_, cost) = program.evaluate(&[("self", Variable::Json(&data, &list.ty))], 1_000_000);
    assert!(cost > 100 && cost <= program.cost_max(), "{cost}");
    let (over, _) = program.evaluate(&[("self", Variable::Json(&data, &list.ty))], 50);
    assert!(over.unwrap_err().is_over_limit());
    let unbounded = Decl { element: Some(Arc::new(any())), ..Decl::scalar(Type::list(Type::Dyn), 1_000_000, 2) };
    let nested = Program::compile("self.all(x, self.all(y, x == y))", &[("self", &unbounded, false)]).unwrap();
    assert!(nested.cost_max() > 1_000_000_000_000);
}

#[test]
fn an_old_value_may_be_optional_and_variables_are_told() {
    let int = Decl::scalar(Type::Int, 1, 1);
    let program = Program::compile(
        "oldSelf.hasValue() ? self >= oldSelf.value() : self == 0",
        &[("self", &int, false), ("oldSelf", &int, true)],
    )
    .unwrap();
    assert!(program.uses("oldSelf"));
    let (new, old) = (json!(1), json!(2));
    let run = |old| {
        program
            .evaluate(&[("self", Variable::Json(&new, &int.ty)), ("oldSelf", Variable::Optional(old))], 1_000)
            .0
            .unwrap()
    };
    assert_eq!(run(Some((&old, &int.ty))), Output::Bool(false));
    assert_eq!(run(None), Output::Bool(false));
}

fn soup() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("self".to_owned()),
        "[0-9]{1,2}",
        Just("1.5".to_owned()),
        Just("'ab'".to_owned()),
        Just("b'x'".to_owned()),
        Just("null".to_owned()),
        Just("duration('1h')".to_owned()),
        Just("[1, 2]".to_owned()),
        Just("{'a': 1}".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("optional.none()".to_owned()),
    ];
    leaf.prop_recursive(5, 60, 3, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", "&&", "||", "in"]),
                inner.clone()
            )
                .prop_map(|(a, o, b)| format!("(dyn({a}) {o} dyn({b}))")),
            (inner.clone(), prop::sample::select(vec!["all", "exists", "map", "filter", "exists_one"]), inner.clone())
                .prop_map(|(a, m, b)| format!("dyn({a}).{m}(x, dyn({b}))")),
            (inner.clone(), prop::sample::select(vec!["size", "sort", "trim", "reverse", "min", "sum", "flatten"]))
                .prop_map(|(a, f)| format!("dyn({a}).{f}()")),
            (
                inner.clone(),
                prop::sample::select(vec!["split", "replace", "substring", "indexOf", "format", "charAt"]),
                inner.clone()
            )
                .prop_map(|(a, f, b)| format!("dyn({a}).{f}(dyn({b}))")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("dyn({a})[dyn({b})]")),
        ]
    })
}

proptest! {
    #[test]
    fn evaluation_is_bounded_by_its_limit_and_never_panics(text in soup()) {
        let data = json!({"a": [1, "x", {"b": null}], "c": 1.5});
        let decl = any();
        if let Ok(program) = Program::compile(&text, &[("self", &decl, false)]) {
            let (output, cost) = program.evaluate(&[("self", Variable::Json(&data, &decl.ty))], 10_000);
            prop_assert!(cost <= 10_000 || output.is_err_and(|e| e.is_over_limit()));
        }
    }
}
