package alarm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// The bounds of an expression. Nothing in it loops or allocates, so its cost is its number of
// nodes.
//
// The library is expr and not CEL, because expr mixes numbers as people write them (a * 2 > 80) and
// has no dependencies.
const (
	maxExpressionLength = 1000
	maxExpressionNodes  = 200
)

// The language of expressions: names, numbers, true and false, a ? b : c, and these operators and
// functions. Strings, lists, loops, members, times, random numbers and other calls are refused.
var (
	unaryOperators  = []string{"-", "+", "!", "not"}
	binaryOperators = []string{
		"+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "&&", "and", "||", "or",
	}
	functions = []string{"abs", "min", "max", "round", "floor", "ceil"}
)

var errDivision = errors.New("division by zero")

// names returns the names of the inputs, sorted.
func (e *Expression) names() []string { return slices.Sorted(maps.Keys(e.Inputs)) }

func (e *Expression) validate(fs *faults) {
	fs.delay("expression.max_age_ms", e.MaxAge)
	fs.add(len(e.Inputs) == 0, "expression.inputs", "must name at least one sensor")
	fs.add(len(e.Inputs) > maxInputs, "expression.inputs",
		fmt.Sprintf("must name at most %d sensors", maxInputs))
	namesAreValid := true
	for _, name := range e.names() {
		field := "expression.inputs." + cut(strings.ToValidUTF8(name, "?"), 60)
		if !isName(name) || slices.Contains(functions, name) {
			fs.add(true, field,
				"must be a name of letters, digits and _, at most 50, that is no function")
			namesAreValid = false
		}
		fs.add(e.Inputs[name] <= 0, field, "must be the id of a sensor")
	}
	if namesAreValid {
		if _, err := e.compile(); err != nil {
			fs.add(true, "expression.text", cut(strings.ToValidUTF8(err.Error(), "?"), 300))
		}
	}
}

// compile compiles the expression. It refuses what is not in the language before the library does.
func (e *Expression) compile() (*vm.Program, error) {
	if n := utf8.RuneCountInString(e.Text); n > maxExpressionLength {
		return nil, fmt.Errorf("must have at most %d characters", maxExpressionLength)
	}
	tree, err := parser.Parse(e.Text)
	if err != nil {
		return nil, firstLine(err)
	}
	c := checker{inputs: e.Inputs, used: map[string]bool{}}
	if err := c.check(tree.Node); err != nil {
		return nil, err
	}
	env := make(map[string]any, len(e.Inputs))
	for _, name := range e.names() {
		if !c.used[name] {
			return nil, fmt.Errorf("does not use the input %s", name)
		}
		env[name] = 0.0
	}
	p, err := expr.Compile(e.Text, expr.Env(env), expr.AsBool(),
		expr.MaxNodes(2*maxExpressionNodes),
		expr.Patch(floats{}),
		expr.Function("__div", divide, new(func(float64, float64) float64)))
	if err != nil {
		return nil, firstLine(err)
	}
	return p, nil
}

type checker struct {
	inputs map[string]int64
	used   map[string]bool
	nodes  int
}

// check refuses a node that is not in the language.
func (c *checker) check(n ast.Node) error {
	if c.nodes++; c.nodes > maxExpressionNodes {
		return fmt.Errorf("costs too much: it must have at most %d numbers, names and operators",
			maxExpressionNodes)
	}
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return nil
	case *ast.IdentifierNode:
		if _, ok := c.inputs[n.Value]; !ok {
			return fmt.Errorf("%.60q is not among the inputs", n.Value)
		}
		c.used[n.Value] = true
		return nil
	case *ast.UnaryNode:
		if !slices.Contains(unaryOperators, n.Operator) {
			return fmt.Errorf("operator %.20q is not allowed", n.Operator)
		}
		return c.check(n.Node)
	case *ast.BinaryNode:
		if !slices.Contains(binaryOperators, n.Operator) {
			return fmt.Errorf("operator %.20q is not allowed", n.Operator)
		}
		return errors.Join(c.check(n.Left), c.check(n.Right))
	case *ast.ConditionalNode:
		return errors.Join(c.check(n.Cond), c.check(n.Exp1), c.check(n.Exp2))
	case *ast.BuiltinNode:
		if !slices.Contains(functions, n.Name) {
			return fmt.Errorf(
				"function %.60q is not allowed: use abs, min, max, round, floor or ceil", n.Name)
		}
		for _, a := range n.Arguments {
			if err := c.check(a); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("must be made of names, numbers, arithmetic, comparisons, and, or, not and " +
		"a ? b : c")
}

// floats makes every number a float and every division by zero an error, so that no result is NaN.
type floats struct{}

func (floats) Visit(n *ast.Node) {
	switch m := (*n).(type) {
	case *ast.IntegerNode:
		ast.Patch(n, &ast.FloatNode{Value: float64(m.Value)})
	case *ast.BinaryNode:
		if m.Operator == "/" {
			ast.Patch(n,
				&ast.CallNode{
					Callee:    &ast.IdentifierNode{Value: "__div"},
					Arguments: []ast.Node{m.Left, m.Right},
				})
		}
	}
}

func divide(p ...any) (any, error) {
	a, b := p[0].(float64), p[1].(float64)
	if b == 0 {
		return nil, errDivision
	}
	return a / b, nil
}

func firstLine(err error) error {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(s)
}

// run evaluates the expression on the newest readings. ok is false when one of them is missing, too
// old or must not be compared.
func (r *Rule) run(s *State) (isTrue, ok bool, err error) {
	program := r.program
	if program == nil {
		if program, err = r.Expression.compile(); err != nil {
			return false, false, err
		}
	}
	newest := s.Last.At
	for _, o := range s.Others {
		if o.At.After(newest) {
			newest = o.At
		}
	}
	env := make(map[string]any, len(r.Expression.Inputs))
	for name, id := range r.Expression.Inputs {
		x, seen := s.seen(r, id)
		if !seen || !r.comparable(x) || isTooOld(x.At, newest, r.Expression.MaxAge) {
			return false, false, nil
		}
		env[name] = x.Value
	}
	v, err := vm.Run(program, env)
	if err != nil {
		return false, false, fmt.Errorf("expression: %w", firstLine(err))
	}
	isTrue, ok = v.(bool)
	return isTrue, ok, nil
}
