package simulator

import (
	"fmt"
	"math"
	"time"
)

// kind is a type of sensor: quantity, range and signal. A value depends only on the seeds of the
// sensor and the instant, so it can be computed for any instant.
type kind struct {
	key      string
	name     string
	typ      string
	unit     string // UCUM
	min, max float64
	digits   int // after the decimal point
	value    func(s sensor, t float64) float64
}

// sensor is a sensor of a machine. Sensors of a machine share its seed, and so its load.
type sensor struct {
	key     string
	name    string
	kind    *kind
	seed    uint64
	machine uint64
}

// kinds are assigned to the sensors of a gateway in turn.
var kinds = []kind{
	{"temperature", "Bearing temperature", "temperature", "Cel", -20, 120, 2, bearingTemperature},
	{"pressure", "Line pressure", "pressure", "bar", 0, 16, 3, linePressure},
	{"vibration", "Vibration velocity RMS", "vibration", "mm/s", 0, 25, 3, vibration},
	{"current", "Motor current", "current", "A", 0, 150, 2, motorCurrent},
	{"flow", "Coolant flow", "flow", "L/min", 0, 120, 2, coolantFlow},
	{"level", "Tank level", "level", "%", 0, 100, 2, tankLevel},
	{"humidity", "Relative humidity", "humidity", "%", 0, 100, 1, humidity},
	{"energy", "Active energy", "energy", "kW.h", 0, 10_000_000, 2, energy},
}

// sensors returns the n sensors of the machine with this seed.
func sensors(machine uint64, n int) []sensor {
	all := make([]sensor, n)
	for i := range all {
		k, number := &kinds[i%len(kinds)], i/len(kinds)+1
		all[i] = sensor{
			key:     fmt.Sprintf("%s-%d", k.key, number),
			name:    fmt.Sprintf("%s %d", k.name, number),
			kind:    k,
			seed:    mix(machine, int64(i)),
			machine: machine,
		}
	}
	return all
}

// sample is a reading as gateways publish it. Sensor is omitted where the topic has it.
type sample struct {
	Sensor    string   `json:"sensor,omitempty"`
	Value     *float64 `json:"value"`
	Timestamp string   `json:"timestamp"`
	Quality   string   `json:"quality"`
}

// A fault lasts for faultSlot; these are the probabilities of each kind.
const (
	faultSlot      = 10 * time.Second
	noValue        = 0.001
	badValue       = 0.002
	uncertainValue = 0.005
)

// at returns the reading of the sensor at t.
func (s sensor) at(t time.Time) sample {
	scale := math.Pow10(s.kind.digits)
	value := math.Round(s.kind.value(s, seconds(t))*scale) / scale
	shown := sample{
		Value:     &value,
		Timestamp: t.UTC().Format("2006-01-02T15:04:05.000000Z"),
		Quality:   "good",
	}
	switch u := uniform(s.seed^0xfa017, t.UnixNano()/int64(faultSlot)); {
	case u < noValue:
		shown.Value, shown.Quality = nil, "bad"
	case u < noValue+badValue:
		shown.Quality = "bad"
	case u < noValue+badValue+uncertainValue:
		shown.Quality = "uncertain"
	}
	return shown
}

// epoch is the instant at which the meters of the plant read zero.
var epoch = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

func seconds(t time.Time) float64 { return t.Sub(epoch).Seconds() }

const day = 86400.0

// bearingTemperature follows the ambient temperature, and the load with the lag of a heavy casing.
func bearingTemperature(s sensor, t float64) float64 {
	return ambient(t) + (30+8*s.constant())*load(s.machine, t, 120) + 0.8*wander(s.seed, t, 900) +
		0.12*noise(s.seed, t)
}

// ambient returns the air temperature in the hall, which is highest at 15:00 UTC.
func ambient(t float64) float64 { return 21 + 5*math.Cos(2*math.Pi*(t/day-15.0/24)) }

// linePressure falls with the load.
func linePressure(s sensor, t float64) float64 {
	return 6.5 + s.constant() - 1.8*load(s.machine, t, 4) + 0.15*wander(s.seed, t, 60) +
		0.03*noise(s.seed, t)
}

// vibration grows with the load and, over some weeks, with the wear of the bearing, until it is
// replaced.
func vibration(s sensor, t float64) float64 {
	life := (20 + 20*s.constant()) * day
	_, worn := math.Modf(t/life + s.constant())
	wear := math.Expm1(4*worn) / math.Expm1(4)
	return 0.8 + 1.4*load(s.machine, t, 6) + 5.5*wear + (0.06+0.2*wear)*noise(s.seed, t)
}

// motorCurrent runs in a duty cycle: inrush, load, idle.
func motorCurrent(s sensor, t float64) float64 {
	period := 60 + 60*s.constant()
	since := math.Mod(t+s.constant()*period, period)
	if since > 0.7*period {
		return 0.6 + 0.05*noise(s.seed, t)
	}
	return 9 + 45*load(s.machine, t, 2) + 50*math.Exp(-since/0.8) + 0.5*noise(s.seed, t)
}

// coolantFlow grows with the load, and has the ripple of its pump.
func coolantFlow(s sensor, t float64) float64 {
	return 30 + 10*s.constant() + 35*load(s.machine, t, 20) + 1.5*math.Sin(2*math.Pi*t/7) +
		2*wander(s.seed, t, 240) + 0.3*noise(s.seed, t)
}

// tankLevel drains slowly and is filled quickly.
func tankLevel(s sensor, t float64) float64 {
	period := 1800 + 1800*s.constant()
	_, at := math.Modf(t/period + s.constant())
	level := 85 - 70*at/0.8
	if at > 0.8 {
		level = 15 + 70*(at-0.8)/0.2
	}
	return level + 0.2*noise(s.seed, t)
}

// humidity falls when the ambient temperature rises.
func humidity(s sensor, t float64) float64 {
	return 48 - 2.2*(ambient(t)-21) + 6*wander(s.seed, t, 3*3600) + 0.3*noise(s.seed, t)
}

// energy is a meter: it only rises, faster by day, and wraps around after its highest number.
func energy(s sensor, t float64) float64 {
	const hours = 3600
	kW := 20 + 20*s.constant()
	swing := 0.6 * kW * day / (2 * math.Pi) * math.Sin(2*math.Pi*(t/day-14.0/24))
	return math.Mod((kW*t+swing+0.6*kW*day/(2*math.Pi))/hours, 10_000_000)
}

// constant returns a number in [0, 1) that belongs to the sensor.
func (s sensor) constant() float64 { return uniform(s.seed, -1) }

// load returns the load of a machine, 0 to 1, through a low-pass filter with the time constant lag
// (in seconds, well below loadSlot). The load has a new level every loadSlot; one in five is 0.
func load(machine uint64, t, lag float64) float64 {
	slot := math.Floor(t / loadSlot)
	before, now := loadLevel(machine, int64(slot)-1), loadLevel(machine, int64(slot))
	return now + (before-now)*math.Exp(-(t-slot*loadSlot)/lag)
}

const loadSlot = 600.0

func loadLevel(machine uint64, slot int64) float64 {
	if uniform(machine, slot) < 0.2 {
		return 0
	}
	return 0.35 + 0.65*uniform(machine^0x10ad, slot)
}

// wander drifts between -1 and 1, with a new direction about every period.
func wander(seed uint64, t, period float64) float64 {
	slot := math.Floor(t / period)
	x := t/period - slot
	from, to := 2*uniform(seed^0x3a7, int64(slot))-1, 2*uniform(seed^0x3a7, int64(slot)+1)-1
	return from + (to-from)*x*x*(3-2*x)
}

// noise is nearly normal with variance 1 and within ±6: the sum of twelve uniform numbers.
func noise(seed uint64, t float64) float64 {
	at := int64(math.Round(t * 1e6))
	sum := -6.0
	for i := range uint64(12) {
		sum += uniform(seed+i*0x5bd1e995, at)
	}
	return sum
}

// uniform returns a number in [0, 1) that depends only on seed and n.
func uniform(seed uint64, n int64) float64 { return float64(mix(seed, n)>>11) / (1 << 53) }

// mix returns SplitMix64 (Steele, Lea, Flood 2014) of the n-th state after seed.
func mix(seed uint64, n int64) uint64 {
	z := seed + uint64(n)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
