package ingest

import (
	"context"
	"strings"
	"sync"

	"github.com/oei-ms/oei-ms/store"
)

// maxPoints bounds what the catalog remembers; beyond it starts over.
const maxPoints = 500_000

// catalog knows the gateways and sensors that messages came from. What it does not know it looks up
// every time, so that a sensor is there for ingest as soon as it is registered.
type catalog struct {
	store *store.Store

	mu         sync.RWMutex
	gateways   map[string]*gateway // by what topics call them: their key or their id
	names      map[int64][]string  // what topics call a gateway
	points     int                 // sensors in all
	generation int                 // counts changes; a look-up that one overtook is not remembered
}

// gateway is a gateway and those of its sensors that are known, by what messages call them.
type gateway struct {
	point   store.SensorInfo
	sensors map[string]*store.SensorInfo
}

func newCatalog(s *store.Store) *catalog {
	return &catalog{store: s, gateways: map[string]*gateway{}, names: map[int64][]string{}}
}

// resolve gives each sample of jobs its sensor, each status its gateway, and to what these leave
// open who published it.
func (c *catalog) resolve(ctx context.Context, jobs []*job) error {
	var m missing
	c.mu.RLock()
	generation := c.generation
	for _, j := range jobs {
		if j.byHTTP {
			continue
		}
		g := c.gateways[j.topic.Gateway]
		// its key may have been given to the publisher a moment ago
		if g != nil && j.foreign(&g.point) {
			g = nil
		}
		if j.reason != "" || g == nil && j.message.GatewayID != 0 {
			if by := j.sender(); by != "" {
				m.gateway(by, c.gateways[by], &j.from)
			}
		}
		if j.reason == "" {
			m.add(j, g)
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
	c.remember(generation, found)
	return nil
}

// missing is what the catalog does not know, and where it is wanted.
type missing struct {
	refs    []store.Ref // each once
	wanted  []store.Ref
	targets []**store.SensorInfo
	seen    map[store.Ref]bool
}

// add resolves what g knows of j and notes the rest; a nil g knows nothing.
func (m *missing) add(j *job, g *gateway) {
	if j.status != nil {
		m.gateway(j.topic.Gateway, g, &j.gateway)
		return
	}
	for i := range j.samples {
		s := &j.samples[i]
		if g != nil {
			if s.point = g.sensors[s.sensor]; s.point != nil {
				continue
			}
		}
		m.want(store.Ref{Gateway: j.topic.Gateway, Sensor: s.sensor}, &s.point)
	}
}

// gateway resolves the gateway that is called name, or notes it when g is nil.
func (m *missing) gateway(name string, g *gateway, to **store.SensorInfo) {
	if g != nil {
		*to = &g.point
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

func (c *catalog) remember(generation int, points map[store.Ref]store.SensorInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.points+len(points) > maxPoints {
		c.clear()
	}
	for r, p := range points {
		g := c.gateways[r.Gateway]
		if g == nil {
			name := strings.Clone(r.Gateway) // it is a part of a topic
			g = &gateway{
				point: store.SensorInfo{
					GatewayID:  p.GatewayID,
					GatewayKey: p.GatewayKey,
					IsSystem:   p.IsSystem,
				},
				sensors: map[string]*store.SensorInfo{},
			}
			c.gateways[name] = g
			c.names[p.GatewayID] = append(c.names[p.GatewayID], name)
		}
		// another time it may be there, or be its own
		if p.SensorID != 0 && p.OwnerID == p.GatewayID {
			g.sensors[strings.Clone(r.Sensor)] = &p
			c.points++
		}
	}
}

// forget drops what is known of a gateway and its sensors; 0 drops everything.
func (c *catalog) forget(gateway int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	if gateway == 0 {
		c.clear()
		return
	}
	for _, name := range c.names[gateway] {
		c.points -= len(c.gateways[name].sensors)
		delete(c.gateways, name)
	}
	delete(c.names, gateway)
}

func (c *catalog) clear() {
	clear(c.gateways)
	clear(c.names)
	c.points = 0
}
