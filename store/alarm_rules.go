package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/alarm"
)

// rules are the rules of all alarms, kept at hand. The database counts their changes; a set is
// never changed once it is given out.
type rules struct {
	loading sync.Mutex
	current atomic.Pointer[ruleSet] // nil: not loaded yet
}

// ruleSet is the rules as they were at a generation.
type ruleSet struct {
	generation int64
	byID       map[int64]*alarm.Rule
	gateways   map[int64]int64   // of each alarm
	bySensor   map[int64][]int64 // alarms to be stepped with readings of the sensor
	unlinked   map[int64][]int64 // those of them that are not linked
	hasLinked  bool
	delayed    map[int64]bool    // sensors with an alarm that has a delay
	suppresses map[int64][]int64 // alarms that name this one as their cause
	unusable   map[int64]bool    // alarms whose rule this program does not understand
}

// newestRules returns the rules as they are in the database now.
func (s *Store) newestRules(ctx context.Context) (*ruleSet, error) {
	generation, _, err := s.ruleGeneration(ctx)
	if err != nil {
		return nil, err
	}
	if n := s.rules.current.Load(); n != nil && n.generation == generation {
		return n, nil
	}
	return s.loadNewest(ctx)
}

// ruleGeneration counts the changes of rules, and says which was the last removal.
func (s *Store) ruleGeneration(ctx context.Context) (generation, removed int64, err error) {
	err = s.ingest.QueryRowContext(ctx, `SELECT generation, removed FROM alarm_rules`).Scan(
		&generation, &removed,
	)
	return generation, removed, err
}

func (s *Store) loadNewest(ctx context.Context) (*ruleSet, error) {
	s.rules.loading.Lock()
	defer s.rules.loading.Unlock()
	generation, removed, err := s.ruleGeneration(ctx)
	if err != nil {
		return nil, err
	}
	old := s.rules.current.Load()
	if old != nil && old.generation == generation { // somebody was faster
		return old, nil
	}
	n := &ruleSet{
		generation: generation,
		byID:       map[int64]*alarm.Rule{},
		gateways:   map[int64]int64{},
		unusable:   map[int64]bool{},
	}
	since := int64(0)
	if old != nil && removed <= old.generation { // those that have not changed are as they were
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

// loadRules adds to n the rules that have changed after the generation since. What was committed
// after n's generation was read may be among them and is loaded again next time.
func (s *Store) loadRules(ctx context.Context, n *ruleSet, since int64) error {
	var rows []struct {
		ID         int64   `db:"id"`
		Version    int64   `db:"version"`
		SensorID   int64   `db:"sensor_id"`
		GatewayID  int64   `db:"gateway_id"`
		Sensor     string  `db:"sensor"`
		Gateway    string  `db:"gateway"`
		Unit       string  `db:"unit"`
		Span       float64 `db:"span"`
		Definition []byte  `db:"rule"`
	}
	const q = `
		SELECT a.id, a.version, a.sensor_id, ` + gatewayOf + ` AS gateway_id, s.name AS sensor, g.name AS gateway, s.unit,
			coalesce(s.max_value - s.min_value, 0) AS span, a.rule
		FROM alarms a
		JOIN sensors s ON s.id = a.sensor_id
		JOIN gateways g ON g.id = ` + gatewayOf + `
		WHERE a.generation > $1`
	if err := s.ingest.SelectContext(ctx, &rows, q, since); err != nil {
		return err
	}
	for _, row := range rows {
		r, err := alarm.ParseRule(row.Definition)
		if err == nil {
			r.ID, r.Version, r.SensorID, r.Sensor, r.Gateway, r.Unit, r.Span =
				row.ID, row.Version, row.SensorID, row.Sensor, row.Gateway, row.Unit, row.Span
			err = r.Compile()
		}
		if err != nil { // of a newer program, or meddled with: readings must not wait for it
			s.log.LogAttrs(ctx, slog.LevelError, "an alarm's rule cannot be used",
				slog.Int64("alarm_id", row.ID), slog.Any("error", err))
			delete(n.byID, row.ID)
			n.unusable[row.ID] = true
			continue
		}
		n.byID[row.ID], n.gateways[row.ID] = &r, row.GatewayID
		delete(n.unusable, row.ID)
	}
	return nil
}

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

// linked reports whether an alarm looks at several sensors, suppresses others or is suppressed by
// them. One that is not stands alone: nothing but its sensor's readings, commands and the clock
// move it.
func (n *ruleSet) isLinked(r *alarm.Rule) bool {
	return len(r.SuppressedBy) > 0 || len(n.suppresses[r.ID]) > 0 || len(r.Sensors()) > 1
}

// inOrder brings ids into the order in which alarms are stepped: those that suppress before those
// they suppress, else by id.
func (n *ruleSet) sort(ids []int64, depths map[int64]int) {
	var depth func(id int64) int // of causes behind it
	depth = func(id int64) int {
		if d, known := depths[id]; known || n.byID[id] == nil {
			return d
		}
		depths[id] = 0 // should it be among its own causes
		deepest := 0
		for _, cause := range n.byID[id].SuppressedBy {
			deepest = max(deepest, depth(cause)+1)
		}
		depths[id] = deepest
		return deepest
	}
	slices.Sort(ids)
	slices.SortStableFunc(ids, func(a, b int64) int { return cmp.Compare(depth(a), depth(b)) })
}

// causes are the rules of the alarms that may suppress r's, directly or through others, in the
// order of inOrder.
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

// with returns ids and all alarms that one of them may suppress, through others too, in order.
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

// change returns the rules with r in place of what it was.
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

// sensors are those that the alarms look at, in order.
func (n *ruleSet) sensorsOf(ids []int64) []int64 {
	var out []int64
	for _, id := range ids {
		out = append(out, n.byID[id].Sensors()...)
	}
	return unique(out)
}

// CheckRule fills in what r has to know of its sensor and reports what is wrong with it by field,
// with the sensors and alarms it names that are not there.
func (s *Store) CheckRule(ctx context.Context, r *alarm.Rule) ([]alarm.Fault, error) {
	const q = `
		SELECT s.name, g.name, s.unit, coalesce(s.max_value - s.min_value, 0)
		FROM sensors s JOIN gateways g ON g.id = ` + gatewayOf + `
		WHERE s.id = $1`
	known, err := s.UnknownSensors(ctx, r.Sensors())
	if err != nil {
		return nil, err
	}
	var faults []alarm.Fault
	for _, id := range known {
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
	const causes = `SELECT c FROM unnest($1::bigint[]) c WHERE NOT EXISTS (SELECT FROM alarms WHERE id = c)`
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
