"""Compute the load and PV curves in ``resources/profiles``.

    python -m resources.scripts.make_profiles

Load. The German standard load profile of households H25 (BDEW, 2025; measured in 2018 and 2019),
as the package demandlib 0.2.2 (oemof developer group, MIT licence) carries it: quarter-hour values
by month and kind of day, to be multiplied by the published dynamisation function of the day of the
year, f(d) = −3.92e-10 d⁴ + 3.20e-7 d³ − 7.02e-5 d² + 2.10e-3 d + 1.24. Only this script needs the
package: ``pip install --no-deps demandlib==0.2.2``. The curves are scaled so that a year of 365
days that begins on a Monday makes 1000 kWh.

PV. Clear sky on a tilted plane, per kWp: declination and equation of time after Spencer (1971),
global irradiance after Haurwitz (1945), direct normal irradiance after Meinel & Meinel (1976) with
the air mass of Kasten & Young (1989), isotropic diffuse light and ground reflection after Liu &
Jordan (1963), a constant performance ratio. Clouds are left to the simulator, which is seeded.

The PV curve is ours; the load curve stands under demandlib's licence, see the README beside it.
"""

import csv
import importlib.util
import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

PROFILES = Path(__file__).parent.parent / "profiles"
QUARTERS = 96
DAYS = 365
MONTH_MIDDLES = (15, 46, 75, 105, 136, 166, 197, 228, 258, 289, 319, 350)

LATITUDE, LONGITUDE, ZONE_H = 37.87, 112.55, 8  # Taiyuan, Shanxi
TILT, ALBEDO, PERFORMANCE = 30.0, 0.2, 0.84
SOLAR_CONSTANT = 1353.0  # W/m², the value Meinel's fit was made with

DAY_TYPES = ("workday", "saturday", "sunday")
PUBLISHED_DAY_TYPES = {"workday": "WT", "saturday": "SA", "sunday": "FT"}
PUBLISHED_FILE = ("bdew", "bdew_data", "h25.csv")


def dynamisation(day: float) -> float:
    """Return the factor of the standard load profile for day 1 … 366 of the year."""
    return ((-3.92e-10 * day + 3.20e-7) * day - 7.02e-5) * day**2 + 2.10e-3 * day + 1.24


def published_profile() -> list[list[float]]:
    """Return kWh a quarter hour per GWh a year, as published: [month × day type][quarter hour]."""
    package = importlib.util.find_spec("demandlib")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the published profile is missing: pip install --no-deps demandlib==0.2.2")
    path = Path(package.submodule_search_locations[0]).joinpath(*PUBLISHED_FILE)
    with path.open(newline="", encoding="utf-8") as file:
        months, kinds, *rows = list(csv.reader(file))
    names = list(dict.fromkeys(months[1:]))
    if len(names) != 12 or len(rows) != QUARTERS:
        raise SystemExit(f"{path} is not the profile this script knows: install demandlib==0.2.2")
    columns = []
    for month in names:
        for kind in DAY_TYPES:
            wanted = (month, PUBLISHED_DAY_TYPES[kind])
            index = list(zip(months, kinds, strict=True)).index(wanted)
            columns.append([float(row[index]) for row in rows])
    return columns


def load_curves() -> list[list[float]]:
    """Return W per 1000 kWh a year, [month × day type][quarter hour], before the day's factor."""
    profile = published_profile()
    energy = 0.0
    first = date(2018, 1, 1)  # a Monday
    for number in range(DAYS):
        day = first + timedelta(days=number)
        kind = {5: 1, 6: 2}.get(day.weekday(), 0)
        energy += sum(profile[3 * (day.month - 1) + kind]) * dynamisation(number + 1)
    # A quarter hour of x kWh has a mean power of 4x kW.
    scale = 4 * 1_000_000 / energy
    return [[scale * value for value in column] for column in profile]


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
    heads = [f"{month:02d}_{kind}" for month in range(1, 13) for kind in DAY_TYPES]
    write(PROFILES / "household_load.csv", heads, load_curves())
    months = [f"day_{day}" for day in MONTH_MIDDLES]
    write(PROFILES / "pv_clear_sky_taiyuan.csv", months, pv_curves())


if __name__ == "__main__":
    main()
