"""Compute the load and PV curves in ``resources/profiles``.

    python -m resources.scripts.make_profiles

Load. The day curve is our own: a base load plus four bells (morning, noon, evening, late evening),
with other weights on Saturdays and Sundays; it is no table of any association. The course over the
year is the published dynamisation function of the German standard load profile H0 (BDEW/VDEW,
"Repräsentative VDEW-Lastprofile", 1999; also BDEW H25):
f(d) = −3.92e-10 d⁴ + 3.20e-7 d³ − 7.02e-5 d² + 2.10e-3 d + 1.24 with d the day of the year.
The curves are scaled so that a year of 365 days makes 1000 kWh.

PV. Clear sky on a tilted plane, per kWp: declination and equation of time after Spencer (1971),
global irradiance after Haurwitz (1945), direct normal irradiance after Meinel & Meinel (1976) with
the air mass of Kasten & Young (1989), isotropic diffuse light and ground reflection after Liu &
Jordan (1963), a constant performance ratio. Clouds are left to the simulator, which is seeded.

Both results are ours and stand under the licence of this repository.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

PROFILES = Path(__file__).parent.parent / "profiles"
QUARTERS = 96
DAYS = 365
MONTH_MIDDLES = (15, 46, 75, 105, 136, 166, 197, 228, 258, 289, 319, 350)

LATITUDE, LONGITUDE, ZONE_H = 37.87, 112.55, 8  # Taiyuan, Shanxi
TILT, ALBEDO, PERFORMANCE = 30.0, 0.2, 0.84
SOLAR_CONSTANT = 1353.0  # W/m², the value Meinel's fit was made with

# Bells of the load curve: hour of the peak, width in hours, height over the base load of 1.
WORKDAY = ((7.2, 1.1, 1.7), (12.3, 1.3, 1.2), (19.2, 1.9, 3.1), (22.0, 1.2, 0.9))
SATURDAY = ((8.9, 1.6, 1.7), (12.5, 1.7, 2.0), (19.0, 2.1, 2.9), (22.3, 1.4, 1.0))
SUNDAY = ((9.4, 1.5, 1.7), (12.2, 1.5, 2.7), (18.8, 2.0, 2.7), (21.8, 1.3, 0.8))
DAY_TYPES = (("workday", WORKDAY), ("saturday", SATURDAY), ("sunday", SUNDAY))
DAYS_OF_TYPE = (261, 52, 52)


def dynamisation(day: float) -> float:
    """Return the factor of the standard load profile H0 for day 1 … 366 of the year."""
    return ((-3.92e-10 * day + 3.20e-7) * day - 7.02e-5) * day**2 + 2.10e-3 * day + 1.24


def load_shape(bells: Sequence[tuple[float, float, float]]) -> list[float]:
    """Return 96 relative quarter-hour powers of one day."""
    shape = []
    for quarter in range(QUARTERS):
        hour = (quarter + 0.5) / 4
        # The nearest way round the clock, so that the late evening runs on after midnight.
        distances = [abs((hour - peak + 12) % 24 - 12) for peak, _, _ in bells]
        bumps = (
            height * math.exp(-((distance / width) ** 2) / 2)
            for distance, (_, width, height) in zip(distances, bells, strict=True)
        )
        shape.append(1 + sum(bumps))
    return shape


def load_curves() -> list[list[float]]:
    """Return W per 1000 kWh a year, [day type][quarter hour], to be multiplied by the factor."""
    shapes = [load_shape(bells) for _, bells in DAY_TYPES]
    mean_factor = sum(dynamisation(day) for day in range(1, DAYS + 1)) / DAYS
    energy = sum(days * sum(shape) / 4 for days, shape in zip(DAYS_OF_TYPE, shapes, strict=True))
    scale = 1_000_000 / (energy * mean_factor)
    return [[scale * value for value in shape] for shape in shapes]


def pv_power(day: float, clock_hour: float) -> float:
    """Return W per kWp under a clear sky on ``day`` of the year at ``clock_hour`` zone time."""
    angle = 2 * math.pi * (day - 1) / DAYS
    declination = (
        0.006918
        - 0.399912 * math.cos(angle)
        + 0.070257 * math.sin(angle)
        - 0.006758 * math.cos(2 * angle)
        + 0.000907 * math.sin(2 * angle)
        - 0.002697 * math.cos(3 * angle)
        + 0.001480 * math.sin(3 * angle)
    )
    equation_of_time_h = (229.18 / 60) * (
        0.000075
        + 0.001868 * math.cos(angle)
        - 0.032077 * math.sin(angle)
        - 0.014615 * math.cos(2 * angle)
        - 0.040849 * math.sin(2 * angle)
    )
    solar_hour = clock_hour + LONGITUDE / 15 - ZONE_H + equation_of_time_h
    hour_angle = math.radians(15 * (solar_hour - 12))
    latitude, tilt = math.radians(LATITUDE), math.radians(TILT)
    cos_zenith = math.sin(latitude) * math.sin(declination)
    cos_zenith += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    if cos_zenith <= 0.01:
        return 0.0
    zenith = math.degrees(math.acos(cos_zenith))
    air_mass = 1 / (cos_zenith + 0.50572 * math.pow(96.07995 - zenith, -1.6364))
    direct: float = SOLAR_CONSTANT * math.pow(0.7, math.pow(air_mass, 0.678))
    horizontal: float = 1098 * cos_zenith * math.exp(-0.057 / cos_zenith)
    diffuse = max(horizontal - direct * cos_zenith, 0.05 * horizontal)
    direct = (horizontal - diffuse) / cos_zenith
    # A plane that faces south: the zenith formula for the latitude less the tilt.
    cos_incidence = math.sin(latitude - tilt) * math.sin(declination)
    cos_incidence += math.cos(latitude - tilt) * math.cos(declination) * math.cos(hour_angle)
    plane = direct * max(cos_incidence, 0.0)
    plane += diffuse * (1 + math.cos(tilt)) / 2
    plane += horizontal * ALBEDO * (1 - math.cos(tilt)) / 2
    return plane * PERFORMANCE


def pv_curves() -> list[list[float]]:
    """Return W per kWp, [month][quarter hour of zone time], for the middle of each month."""
    return [
        [pv_power(day, (quarter + 0.5) / 4) for quarter in range(QUARTERS)] for day in MONTH_MIDDLES
    ]


def write(path: Path, heads: Sequence[str], columns: Sequence[Sequence[float]]) -> None:
    """Write the columns with one row per quarter hour (its start), rounded to 0.1 W."""
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start", *heads])
        for quarter in range(QUARTERS):
            start = f"{quarter // 4:02d}:{quarter % 4 * 15:02d}"
            writer.writerow([start, *(f"{column[quarter]:.1f}" for column in columns)])


def main() -> None:
    """Write both files."""
    write(PROFILES / "household_load.csv", [name for name, _ in DAY_TYPES], load_curves())
    months = [f"day_{day}" for day in MONTH_MIDDLES]
    write(PROFILES / "pv_clear_sky_taiyuan.csv", months, pv_curves())


if __name__ == "__main__":
    main()
