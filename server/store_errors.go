package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/oei-ms/oei-ms/store"
)

// inUse is a 409 that names what prevents a deletion, and the remedy.
func inUse(e *store.InUseError) *problem {
	var detail string
	switch {
	case len(e.Suppressed) > 0:
		detail = fmt.Sprintf("An alarm to be deleted suppresses %s. "+
			"Remove it from their suppressed_by first, or delete them.", alarmNames(e.Suppressed))
	case len(e.Reading) > 0:
		detail = fmt.Sprintf("A sensor to be deleted is an input of other sensors' %s. "+
			"Change them first, or delete them.", alarmNames(e.Reading))
	default:
		detail = "The gateway has " + count(e.Sensors, "sensor")
		if len(e.Alarms) > 0 {
			detail += " and " + alarmNames(e.Alarms)
		}
		detail += ". With cascade=true they are deleted too, with all readings; " +
			"with dry_run=true the answer says what would be deleted."
	}
	return &problem{status: http.StatusConflict, detail: detail}
}

// systemOwned is a 409 for a change of the server's own gateway or sensors.
func systemOwned(e *store.SystemOwnedError) *problem {
	detail := "This is the server's own gateway. It keeps its key and stays in use, it has no " +
		"credentials, and it cannot be deleted."
	if e.Kind == "sensor" {
		detail = "This is a sensor of the server's own gateway. It keeps its key, stays in use " +
			"and cannot be deleted. To stop its notifications, delete its alarm or take the " +
			"alarm out of service."
	}
	return &problem{status: http.StatusConflict, detail: detail}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// maxNamed is how many alarms a sentence names.
const maxNamed = 5

// alarmNames counts alarms and names the first.
func alarmNames(alarms []store.AlarmName) string {
	if len(alarms) == 1 {
		return fmt.Sprintf("alarm %d (%s)", alarms[0].ID, alarms[0].Name)
	}
	names := make([]string, 0, maxNamed+1)
	for _, a := range alarms[:min(len(alarms), maxNamed)] {
		names = append(names, fmt.Sprintf("%d (%s)", a.ID, a.Name))
	}
	if len(alarms) > maxNamed {
		names = append(names, "…")
	}
	return fmt.Sprintf("%d alarms: %s", len(alarms), strings.Join(names, ", "))
}
