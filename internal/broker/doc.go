// Package broker is the MQTT broker of an installation that has no other.
package broker
