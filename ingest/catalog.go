package ingest

import (
	"context"
	"strings"
	"sync"

	"github.com/oei-ms/oei-ms/store"
)

// maxPoints bounds what the catalog remembers; beyond it starts over.
const maxPoints = 500_000

// catalog knows the sensors that readings came from. What it does not know it looks up every time, so that a sensor is
// there for ingest as soon as it is registered.
type catalog struct {
	store *store.Store

	mu         sync.RWMutex
	points     map[store.Ref]store.Point
	refs       map[int64][]store.Ref // of each gateway
	generation int                   // counts changes; a look-up that one overtook is not remembered
}

func newCatalog(s *store.Store) *catalog {
	return &catalog{store: s, points: map[store.Ref]store.Point{}, refs: map[int64][]store.Ref{}}
}

// lookUp returns the points of refs. A ref with an unknown gateway is absent.
func (c *catalog) lookUp(ctx context.Context, refs []store.Ref) (map[store.Ref]store.Point, error) {
	found := make(map[store.Ref]store.Point, len(refs))
	var missing []store.Ref
	c.mu.RLock()
	generation := c.generation
	for _, r := range refs {
		if _, seen := found[r]; seen {
			continue
		}
		p, ok := c.points[r]
		found[r] = p
		if !ok {
			missing = append(missing, r)
		}
	}
	c.mu.RUnlock()
	if len(missing) == 0 {
		return found, nil
	}
	fetched, err := c.store.Points(ctx, missing)
	if err != nil {
		return nil, err
	}
	for _, r := range missing {
		p, ok := fetched[r]
		if !ok {
			delete(found, r)
			continue
		}
		found[r] = p
	}
	c.remember(generation, fetched)
	return found, nil
}

func (c *catalog) remember(generation int, points map[store.Ref]store.Point) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if len(c.points)+len(points) > maxPoints {
		clear(c.points)
		clear(c.refs)
	}
	for r, p := range points {
		if r.Sensor != "" && p.SensorID == 0 || p.OwnerID != p.GatewayID && p.SensorID != 0 {
			continue // may be there the next time
		}
		r = store.Ref{Gateway: strings.Clone(r.Gateway), Sensor: strings.Clone(r.Sensor)} // they are parts of a payload
		c.points[r] = p
		c.refs[p.GatewayID] = append(c.refs[p.GatewayID], r)
	}
}

// forget drops what is known of a gateway and its sensors; 0 drops everything.
func (c *catalog) forget(gateway int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	if gateway == 0 {
		clear(c.points)
		clear(c.refs)
		return
	}
	for _, r := range c.refs[gateway] {
		delete(c.points, r)
	}
	delete(c.refs, gateway)
}
