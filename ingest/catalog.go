package ingest

import (
	"context"
	"strings"
	"sync"

	"github.com/oei-ms/oei-ms/store"
)

// maxCachedSensors bounds how many sensors the catalog caches; over it, it is cleared.
const maxCachedSensors = 500_000

// catalog caches the gateways and sensors that messages name. It looks up unknown names every time,
// so that a sensor is accepted as soon as it is registered.
type catalog struct {
	store *store.Store

	mu         sync.RWMutex
	gateways   map[string]*gateway // by key and by id, as topics name them
	names      map[int64][]string  // keys of gateways, by id
	cached     int                 // cached sensors
	generation int                 // counts changes; a look-up from before one is not cached
}

// gateway is a gateway and its cached sensors, by key and by id, as messages name them.
type gateway struct {
	info    store.SensorInfo
	sensors map[string]*store.SensorInfo
}

func newCatalog(s *store.Store) *catalog {
	return &catalog{store: s, gateways: map[string]*gateway{}, names: map[int64][]string{}}
}

// resolve sets the sensor of each sample, the gateway of each status, and the publisher of entries
// that these do not tell.
func (c *catalog) resolve(ctx context.Context, entries []*entry) error {
	var m missing
	c.mu.RLock()
	generation := c.generation
	for _, e := range entries {
		if e.byHTTP {
			continue
		}
		g := c.gateways[e.topic.Gateway]
		// the cache may be outdated: the publisher may have been given this key a moment ago
		if g != nil && e.isForeign(&g.info) {
			g = nil
		}
		if e.reason != "" || g == nil && e.message.GatewayID != 0 {
			if by := e.publisherName(); by != "" {
				m.gateway(by, c.gateways[by], &e.from)
			}
		}
		if e.reason == "" {
			m.add(e, g)
		}
	}
	c.mu.RUnlock()
	if len(m.refs) == 0 {
		return nil
	}
	found, err := c.store.SensorInfos(ctx, m.refs)
	if err != nil {
		return err
	}
	for i, to := range m.targets {
		*to = nil
		if p, ok := found[m.wanted[i]]; ok {
			*to = &p
		}
	}
	c.add(generation, found)
	return nil
}

// missing collects the references that are not cached, and where to store what they refer to.
type missing struct {
	refs    []store.Ref // distinct
	wanted  []store.Ref
	targets []**store.SensorInfo
	seen    map[store.Ref]bool
}

// add resolves e from g where g has it, and adds the rest. g may be nil.
func (m *missing) add(e *entry, g *gateway) {
	if e.status != nil {
		m.gateway(e.topic.Gateway, g, &e.gateway)
		return
	}
	for i := range e.samples {
		s := &e.samples[i]
		if g != nil {
			if s.info = g.sensors[s.sensor]; s.info != nil {
				continue
			}
		}
		m.want(store.Ref{Gateway: e.topic.Gateway, Sensor: s.sensor}, &s.info)
	}
}

// gateway resolves the gateway name from g, or adds it when g is nil.
func (m *missing) gateway(name string, g *gateway, to **store.SensorInfo) {
	if g != nil {
		*to = &g.info
		return
	}
	m.want(store.Ref{Gateway: name}, to)
}

func (m *missing) want(r store.Ref, to **store.SensorInfo) {
	if m.seen == nil {
		m.seen = map[store.Ref]bool{}
	}
	if !m.seen[r] {
		m.seen[r] = true
		m.refs = append(m.refs, r)
	}
	m.wanted, m.targets = append(m.wanted, r), append(m.targets, to)
}

func (c *catalog) add(generation int, infos map[store.Ref]store.SensorInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.cached+len(infos) > maxCachedSensors {
		c.clear()
	}
	for r, p := range infos {
		g := c.gateways[r.Gateway]
		if g == nil {
			name := strings.Clone(r.Gateway) // would keep the topic in memory
			g = &gateway{
				info: store.SensorInfo{
					GatewayID:  p.GatewayID,
					GatewayKey: p.GatewayKey,
					IsSystem:   p.IsSystem,
				},
				sensors: map[string]*store.SensorInfo{},
			}
			c.gateways[name] = g
			c.names[p.GatewayID] = append(c.names[p.GatewayID], name)
		}
		// an unknown sensor may be registered later, and another gateway's may become its own
		if p.SensorID != 0 && p.OwnerID == p.GatewayID {
			g.sensors[strings.Clone(r.Sensor)] = &p
			c.cached++
		}
	}
}

// invalidate removes a gateway and its sensors from the cache; 0 removes all.
func (c *catalog) invalidate(gateway int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	if gateway == 0 {
		c.clear()
		return
	}
	for _, name := range c.names[gateway] {
		c.cached -= len(c.gateways[name].sensors)
		delete(c.gateways, name)
	}
	delete(c.names, gateway)
}

func (c *catalog) clear() {
	clear(c.gateways)
	clear(c.names)
	c.cached = 0
}
