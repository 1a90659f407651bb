package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/alarm"
)

// ruleCache holds the newest set of rules. The database counts the changes of rules as generations;
// a set does not change after it was loaded.
type ruleCache struct {
	loading sync.Mutex
	current atomic.Pointer[ruleSet] // nil: not loaded yet
}

// ruleSet is the rules of all alarms at a generation.
type ruleSet struct {
	generation int64
	byID       map[int64]*alarm.Rule
	gateways   map[int64]int64   // the gateway of each alarm
	bySensor   map[int64][]int64 // the alarms that a sensor's readings are evaluated by
	unlinked   map[int64][]int64 // those of bySensor that are not linked
	hasLinked  bool
	delayed    map[int64]bool    // sensors of an alarm that has a delay
	suppresses map[int64][]int64 // the alarms that name an alarm in suppressed_by
	unusable   map[int64]bool    // alarms whose rule this program does not understand
}

// newestRules returns the rules that are committed now.
func (s *Store) newestRules(ctx context.Context) (*ruleSet, error) {
	generation, _, err := s.ruleGeneration(ctx)
	if err != nil {
		return nil, err
	}
	if n := s.rules.current.Load(); n != nil && n.generation == generation {
		return n, nil
	}
	return s.loadNewestRules(ctx)
}

// ruleGeneration returns the newest generation of the rules, and that of the last removal.
func (s *Store) ruleGeneration(ctx context.Context) (generation, removed int64, err error) {
	const q = `SELECT generation, removed FROM alarm_rules`
	err = s.ingest.QueryRowContext(ctx, q).Scan(&generation, &removed)
	return generation, removed, err
}

func (s *Store) loadNewestRules(ctx context.Context) (*ruleSet, error) {
	s.rules.loading.Lock()
	defer s.rules.loading.Unlock()
	generation, removed, err := s.ruleGeneration(ctx)
	if err != nil {
		return nil, err
	}
	old := s.rules.current.Load()
	if old != nil && old.generation == generation { // another goroutine was first
		return old, nil
	}
	n := &ruleSet{
		generation: generation,
		byID:       map[int64]*alarm.Rule{},
		gateways:   map[int64]int64{},
		unusable:   map[int64]bool{},
	}
	since := int64(0)
	if old != nil && removed <= old.generation { // rules have only been added or changed
		since = old.generation
		for id, r := range old.byID {
			n.byID[id], n.gateways[id] = r, old.gateways[id]
		}
		maps.Copy(n.unusable, old.unusable)
	}
	if err := s.loadRules(ctx, n, since); err != nil {
		return nil, err
	}
	n.index()
	s.rules.current.Store(n)
	return n, nil
}

// loadRules adds to n the rules that have changed after the generation since. Rules that were
// committed after n's generation was read may be among them; they are loaded again next time.
func (s *Store) loadRules(ctx context.Context, n *ruleSet, since int64) error {
	var rows []struct {
		ID        int64   `db:"id"`
		Version   int64   `db:"version"`
		SensorID  int64   `db:"sensor_id"`
		GatewayID int64   `db:"gateway_id"`
		Sensor    string  `db:"sensor"`
		Gateway   string  `db:"gateway"`
		Unit      string  `db:"unit"`
		Span      float64 `db:"span"`
		Rule      []byte  `db:"rule"`
	}
	const q = `
		SELECT a.id, a.version, a.sensor_id, ` + gatewayOf + ` AS gateway_id, s.name AS sensor,
			g.name AS gateway, s.unit, coalesce(s.max_value - s.min_value, 0) AS span, a.rule
		FROM alarms a
		JOIN sensors s ON s.id = a.sensor_id
		JOIN gateways g ON g.id = ` + gatewayOf + `
		WHERE a.generation > $1`
	if err := s.ingest.SelectContext(ctx, &rows, q, since); err != nil {
		return err
	}
	for _, row := range rows {
		r, err := alarm.ParseRule(row.Rule)
		if err == nil {
			r.ID, r.Version = row.ID, row.Version
			r.SensorID, r.Sensor = row.SensorID, row.Sensor
			r.Gateway, r.Unit, r.Span = row.Gateway, row.Unit, row.Span
			err = r.Compile()
		}
		if err != nil { // of a newer program, or edited by hand: readings must not wait for it
			s.log.ErrorContext(ctx, "ignoring an unusable alarm rule",
				"alarm_id", row.ID, "error", err)
			delete(n.byID, row.ID)
			n.unusable[row.ID] = true
			continue
		}
		n.byID[row.ID], n.gateways[row.ID] = &r, row.GatewayID
		delete(n.unusable, row.ID)
	}
	return nil
}

// index derives the other members from byID.
func (n *ruleSet) index() {
	n.bySensor, n.suppresses, n.delayed = map[int64][]int64{}, map[int64][]int64{}, map[int64]bool{}
	for id, r := range n.byID {
		for _, sensor := range r.Sensors() {
			n.bySensor[sensor] = append(n.bySensor[sensor], id)
			if r.OnDelay > 0 || r.OffDelay > 0 {
				n.delayed[sensor] = true
			}
		}
		for _, cause := range r.SuppressedBy {
			n.suppresses[cause] = append(n.suppresses[cause], id)
		}
	}
	depths := map[int64]int{}
	n.unlinked = make(map[int64][]int64, len(n.bySensor))
	for sensor, ids := range n.bySensor {
		n.sort(ids, depths)
		n.unlinked[sensor] = slices.DeleteFunc(slices.Clone(ids),
			func(id int64) bool { return n.isLinked(n.byID[id]) })
		n.hasLinked = n.hasLinked || len(n.unlinked[sensor]) < len(ids)
	}
	for _, ids := range n.suppresses {
		n.sort(ids, depths)
	}
}

// isLinked reports whether an alarm refers to several sensors, suppresses others or is suppressed
// by them. The state of an unlinked alarm changes only by its sensor's readings, commands and time.
func (n *ruleSet) isLinked(r *alarm.Rule) bool {
	return len(r.SuppressedBy) > 0 || len(n.suppresses[r.ID]) > 0 || len(r.Sensors()) > 1
}

// sort sorts ids into the order of evaluation: alarms before those that they suppress, else by id.
// depths caches the depth of each alarm.
func (n *ruleSet) sort(ids []int64, depths map[int64]int) {
	var depth func(id int64) int // the longest chain of its causes
	depth = func(id int64) int {
		if d, known := depths[id]; known || n.byID[id] == nil {
			return d
		}
		depths[id] = 0 // ends the recursion when it is among its own causes
		maxDepth := 0
		for _, cause := range n.byID[id].SuppressedBy {
			maxDepth = max(maxDepth, depth(cause)+1)
		}
		depths[id] = maxDepth
		return maxDepth
	}
	slices.Sort(ids)
	slices.SortStableFunc(ids, func(a, b int64) int { return cmp.Compare(depth(a), depth(b)) })
}

// causes returns the rules of the alarms that may suppress that of r, directly or through others,
// in the order of evaluation.
func (n *ruleSet) causes(r *alarm.Rule) []*alarm.Rule {
	var ids []int64
	var add func(r *alarm.Rule)
	add = func(of *alarm.Rule) {
		for _, id := range of.SuppressedBy {
			if c := n.byID[id]; c != nil && id != r.ID && !slices.Contains(ids, id) {
				ids = append(ids, id)
				add(c)
			}
		}
	}
	add(r)
	n.sort(ids, map[int64]int{})
	causes := make([]*alarm.Rule, len(ids))
	for i, id := range ids {
		causes[i] = n.byID[id]
	}
	return causes
}

// withSuppressed returns ids and all alarms that they may suppress, directly or through others, by
// id. Alarms that are not in the set are left out.
func (n *ruleSet) withSuppressed(ids []int64) []int64 {
	seen := make(map[int64]bool, len(ids))
	var add func(id int64)
	add = func(id int64) {
		if seen[id] || n.byID[id] == nil {
			return
		}
		seen[id] = true
		for _, d := range n.suppresses[id] {
			add(d)
		}
	}
	for _, id := range ids {
		add(id)
	}
	out := make([]int64, 0, len(seen))
	for id := range seen {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// withRule returns the set with the rule r of an alarm of gateway added or replaced.
func (n *ruleSet) withRule(r *alarm.Rule, gateway int64) *ruleSet {
	c := &ruleSet{
		generation: n.generation,
		byID:       maps.Clone(n.byID),
		gateways:   maps.Clone(n.gateways),
	}
	c.byID[r.ID], c.gateways[r.ID] = r, gateway
	c.index()
	return c
}

// sensorsOf returns the sensors that the alarms ids refer to, in order.
func (n *ruleSet) sensorsOf(ids []int64) []int64 {
	var out []int64
	for _, id := range ids {
		out = append(out, n.byID[id].Sensors()...)
	}
	return unique(out)
}

// CheckRule fills in what r has to know of its sensor and returns the faults of r by field. Unknown
// sensors and alarms are among them.
func (s *Store) CheckRule(ctx context.Context, r *alarm.Rule) ([]alarm.Fault, error) {
	const q = `
		SELECT s.name, g.name, s.unit, coalesce(s.max_value - s.min_value, 0)
		FROM sensors s
		JOIN gateways g ON g.id = ` + gatewayOf + `
		WHERE s.id = $1`
	unknown, err := s.UnknownSensors(ctx, r.Sensors())
	if err != nil {
		return nil, err
	}
	var faults []alarm.Fault
	for _, id := range unknown {
		field := "rule"
		switch {
		case id == r.SensorID:
			field = "sensor_id"
		case r.Deviation != nil && r.Deviation.SensorID == id:
			field = "rule.deviation.sensor_id"
		case r.Expression != nil:
			field = "rule.expression.inputs"
		}
		faults = append(faults,
			alarm.Fault{Field: field, Reason: fmt.Sprintf("there is no sensor %d", id)})
	}
	if len(faults) == 0 {
		if err := s.api.QueryRowContext(ctx, q, r.SensorID).Scan(&r.Sensor, &r.Gateway, &r.Unit,
			&r.Span); err != nil {
			return nil, explain("sensor", err)
		}
	}
	for _, f := range r.Validate() {
		faults = append(faults, alarm.Fault{Field: "rule." + f.Field, Reason: f.Reason})
	}
	var missing []int64
	const causes = `
		SELECT c
		FROM unnest($1::bigint[]) c
		WHERE NOT EXISTS (SELECT FROM alarms WHERE id = c)`
	if err := s.api.SelectContext(ctx, &missing, causes, pq.Array(r.SuppressedBy)); err != nil {
		return nil, explain("alarm", err)
	}
	for _, id := range missing {
		faults = append(faults,
			alarm.Fault{
				Field:  "rule.suppressed_by",
				Reason: fmt.Sprintf("there is no alarm %d", id),
			})
	}
	return faults, nil
}
